// An OpenAPI 3.1 document made of zod schemas: what is checked is what is described.
import { z } from "zod";

export interface Described {
  method: "GET" | "POST";
  path: string;
  id: string;
  summary: string;
  input: z.ZodType;
  output: z.ZodType;
  kind: "look" | "act";
}

type Schema = Record<string, unknown>;

/** Schemas with an id become components, the others are written out where they are used. */
class Components {
  readonly schemas: Record<string, Schema> = {};

  of(schema: z.ZodType, io: "input" | "output"): Schema {
    const { $schema: _dialect, $defs = {}, ...body } = z.toJSONSchema(schema, {
      target: "draft-2020-12",
      io,
    }) as Schema & { $defs?: Record<string, Schema> };
    for (const [name, { id: _id, ...definition }] of Object.entries($defs)) {
      this.schemas[name] = this.#repoint(definition);
    }
    return this.#repoint(body);
  }

  #repoint(schema: Schema): Schema {
    const text = JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/');
    return JSON.parse(text);
  }
}

export interface DocumentOptions {
  title: string;
  version: string;
  description: string;
  server: string;
  operations: readonly Described[];
  problem: z.ZodType;
  health: z.ZodType;
}

const json = (schema: Schema) => ({ "application/json": { schema } });

export function openApiDocument(options: DocumentOptions): Record<string, unknown> {
  const components = new Components();
  const problem = components.of(options.problem, "output");
  const problemAnswer = (description: string) => ({
    description,
    content: { "application/problem+json": { schema: problem } },
  });
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of options.operations) {
    (paths[operation.path] ??= {})[operation.method.toLowerCase()] = {
      operationId: operation.id,
      summary: operation.summary,
      security: [{ user: [] }, { secretKey: [] }],
      ...request(components, operation),
      responses: {
        "200": {
          description: "Done.",
          content: json(components.of(operation.output, "output")),
          ...(operation.kind === "act"
            ? { headers: { "idempotency-replayed": { $ref: "#/components/headers/replayed" } } }
            : {}),
        },
        "401": { $ref: "#/components/responses/unauthorized" },
        default: { $ref: "#/components/responses/problem" },
      },
    };
  }
  paths["/health"] = {
    get: {
      operationId: "health",
      summary: "Does it answer, and its database?",
      security: [],
      responses: {
        "200": { description: "It does.", content: json(components.of(options.health, "output")) },
        default: { $ref: "#/components/responses/problem" },
      },
    },
  };
  paths["/health/engine"] = {
    get: {
      operationId: "engineHealth",
      summary:
        "Does something tick, and is what is due done? 503 engine_stopped: not for some minutes.",
      security: [],
      responses: {
        "200": { description: "It is.", content: json(components.of(options.health, "output")) },
        default: { $ref: "#/components/responses/problem" },
      },
    },
  };
  paths["/openapi.json"] = {
    get: {
      operationId: "openapi",
      summary: "This document.",
      security: [],
      responses: { "200": { description: "It.", content: json({ type: "object" }) } },
    },
  };
  return {
    openapi: "3.1.0",
    info: {
      title: options.title,
      version: options.version,
      description: options.description,
    },
    servers: [{ url: options.server }],
    paths,
    components: {
      schemas: components.schemas,
      responses: {
        unauthorized: problemAnswer("Neither a valid token nor a secret key."),
        problem: problemAnswer("What went wrong, and how to mend it."),
      },
      headers: {
        replayed: {
          description: "true: this is the answer of an earlier request with the same key.",
          schema: { type: "string", enum: ["true"] },
        },
      },
      parameters: {
        idempotencyKey: {
          name: "Idempotency-Key",
          in: "header",
          required: false,
          description: "A value of your own, such as a UUID. Within a day, the same request with " +
            "the same key is carried out once and answered the same.",
          schema: { type: "string", minLength: 1, maxLength: 255 },
        },
      },
      securitySchemes: {
        user: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
        secretKey: { type: "apiKey", in: "header", name: "apikey" },
      },
    },
  };
}

function request(components: Components, operation: Described): Record<string, unknown> {
  if (operation.method === "GET") {
    const { properties = {}, required = [] } = components.of(operation.input, "input") as {
      properties?: Record<string, Schema>;
      required?: string[];
    };
    return {
      parameters: Object.entries(properties).map(([name, schema]) => ({
        name,
        in: "query",
        required: required.includes(name),
        schema,
      })),
    };
  }
  return {
    ...(operation.kind === "act"
      ? { parameters: [{ $ref: "#/components/parameters/idempotencyKey" }] }
      : {}),
    requestBody: { required: true, content: json(components.of(operation.input, "input")) },
  };
}
