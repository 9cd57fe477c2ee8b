// What a command was given on its line.
import { parseArgs, type ParseArgsConfig } from "node:util";

export function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

/** Says how the command is called where that was asked for, or where the line makes no sense, and ends it. */
export function readArguments<Options extends NonNullable<ParseArgsConfig["options"]>>(
  usage: string,
  options: Options,
) {
  const read = () => {
    try {
      return parseArgs({ options }).values;
    } catch (error) {
      return fail(`${error instanceof Error ? error.message : error}\n\n${usage}`);
    }
  };
  if (process.argv.slice(2).some((given) => given === "--help" || given === "-h")) {
    console.log(usage);
    process.exit(0);
  }
  return read();
}
