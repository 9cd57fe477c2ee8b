import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    globalSetup: ["tests/support/global.ts"],
    setupFiles: ["tests/support/properties.ts"],
    // Each suite owns a database or a stack of its own. Two of them leave a fifth of two cores idle: they wait for clocks,
    // locks and processes.
    pool: "forks",
    maxWorkers: 3,
    // Properties over many records take as long as the machine is loaded.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // What is awaited comes late there, too; where it is about time a test says so.
    expect: { poll: { timeout: 30_000 } },
    reporters: ["default"],
  },
});
