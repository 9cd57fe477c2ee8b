// For programs that make workflows: the types of the Data API, and the schemas of steps. Whether a definition
// holds is for the database to say (ridgeline.validate_workflow); this tells an editor while somebody types.
import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { settingSchemas, stepTypes } from "./step-schemas.ts";

export type { Database, Json } from "./database.types.ts";
export { settingSchemas, stepTypes };

export type StepType = typeof stepTypes[number]["name"];

export interface StepProblem {
  /** Where in the configuration: `window.from`; empty: the whole. */
  path: string;
  message: string;
}

// Formats (template, phone, duration ...) are the database's own.
const ajv = new Ajv2020({ allErrors: true, strict: false, validateFormats: false });
const validators = new Map<StepType, ValidateFunction>();

function validatorOf(type: StepType): ValidateFunction {
  const known = validators.get(type);
  if (known) return known;
  const found = stepTypes.find(({ name }) => name === type);
  if (!found) {
    throw new TypeError(
      `step_type: there is no "${type}"; known: ${stepTypes.map(({ name }) => name).join(", ")}`,
    );
  }
  const made = ajv.compile(found.config_schema);
  validators.set(type, made);
  return made;
}

const problem = ({ instancePath, message, params }: ErrorObject): StepProblem => ({
  path: [...instancePath.split("/").slice(1), params.missingProperty ?? ""].filter(Boolean).join(
    ".",
  ),
  message: message ?? "is not valid",
});

/**
 * What is wrong with the configuration of a step, by the published schema alone.
 * @throws {TypeError} for a type of step that does not exist.
 */
export function checkStepConfig(type: StepType, config: unknown): StepProblem[] {
  const validate = validatorOf(type);
  return validate(config) ? [] : (validate.errors ?? []).map(problem);
}
