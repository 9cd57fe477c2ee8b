import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    globalSetup: ["tests/support/global.ts"],
    setupFiles: ["tests/support/properties.ts"],
    // Two suites at once: each owns a database or a stack of its own, and machines have few cores.
    pool: "forks",
    maxWorkers: 2,
    // Properties over many records take as long as the machine is loaded.
    testTimeout: 120_000,
    hookTimeout: 60_000,
    reporters: ["default"],
  },
});
