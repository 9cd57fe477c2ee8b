// The ten recipes on the reference CRM.
import { tellStories } from "./stories.ts";

tellStories("reference");
