// The ten recipes on a contractor's own CRM: other tables, columns and words.
import { tellStories } from "./stories.ts";

tellStories("host");
