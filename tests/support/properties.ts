// The same cases in every run, so that a red one is about the change and not about luck. New ones are looked for
// with RIDGELINE_PROPERTY_SEED=random (or a number), usually beside a larger RIDGELINE_PROPERTY_RUNS.
import fc from "fast-check";

const given = process.env.RIDGELINE_PROPERTY_SEED ?? "20261126";
const seed = given === "random" ? Date.now() % 2 ** 31 : Number(given);
fc.configureGlobal({ ...fc.readConfigureGlobal(), seed });
