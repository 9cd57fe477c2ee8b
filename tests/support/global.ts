// One Postgres for all suites of a run: started here, cloned from by tests/support/database.ts.
import type { TestProject } from "vitest/node";
import { createTemplate, startScratchServer } from "../../scripts/lib/scratch.ts";

declare module "vitest" {
  interface ProvidedContext {
    adminUrl: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const binaries = process.env.RIDGELINE_POSTGRES_BINARIES;
  const { server, stop } = await startScratchServer({
    ...(binaries ? { binaries } : {}),
    settings: { max_connections: "200" },
  });
  try {
    await createTemplate(server.url());
  } catch (error) {
    await stop();
    throw error;
  }
  project.provide("adminUrl", server.url());
  return stop;
}
