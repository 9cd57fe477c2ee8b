// The sockets that postgres.js talks through. It opens them itself otherwise; it is given these
// because it cannot cope with a connection that is lost in the middle of a transaction: it writes
// the rollback to a socket that it has let go of, which is an error that nobody can catch and ends
// the process, and leaves that connection of its pool unusable.
import { Buffer } from "node:buffer";
import net from "node:net";
import tls from "node:tls";

export type TlsMode = "disable" | "prefer" | "require" | "verify-full";

export interface Address {
  host: string;
  port: number;
}

const CONNECT_TIMEOUT_MS = 10_000;
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** What the URL asks for with sslmode; TLS where the server offers it, unless told otherwise. */
export function tlsModeOf(url: string): TlsMode {
  switch (new URL(url).searchParams.get("sslmode")) {
    case "disable":
      return "disable";
    case "require":
      return "require";
    case "verify-ca":
    case "verify-full":
      return "verify-full";
    default:
      return "prefer";
  }
}

/** Opens a socket to Postgres, encrypted as asked, that outlives its own end for a moment. */
export async function openSocket({ host, port }: Address, mode: TlsMode): Promise<net.Socket> {
  const isLocal = host.startsWith("/");
  const socket = isLocal
    ? net.connect({ path: `${host}/.s.PGSQL.${port}` })
    : net.connect({ host, port });
  const timer = setTimeout(
    () => socket.destroy(lost("the connection was not made within 10 s", "CONNECT_TIMEOUT")),
    CONNECT_TIMEOUT_MS,
  );
  try {
    await happens(socket, "connect");
    if (mode === "disable" || isLocal) return holdClose(socket);
    return holdClose(await encrypt(socket, host, mode));
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-SSL */
async function encrypt(plain: net.Socket, host: string, mode: TlsMode): Promise<net.Socket> {
  plain.write(SSL_REQUEST);
  const [answer] = await happens(plain, "data") as [Buffer];
  if (answer.toString() !== "S") {
    if (mode === "prefer") return plain;
    throw lost("the server offers no TLS, and sslmode asks for it", "TLS_REFUSED");
  }
  const secure = tls.connect({
    socket: plain,
    rejectUnauthorized: mode === "verify-full",
    ...(net.isIP(host) ? {} : { servername: host }),
  });
  await happens(secure, "secureConnect");
  return secure;
}

function happens(socket: net.Socket, event: string): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const done = (...values: unknown[]) => {
      off();
      resolve(values);
    };
    const failed = (error?: unknown) => {
      off();
      reject(error instanceof Error ? error : lost());
    };
    const off = () => {
      socket.off(event, done).off("error", failed).off("close", failed);
    };
    socket.once(event, done).once("error", failed).once("close", failed);
  });
}

function lost(message = "the connection to the database was lost", code = "CONNECTION_CLOSED") {
  return Object.assign(new Error(message), { code });
}

/** After the last write into a connection that is gone. */
const QUIET_MS = 100;
/** Whoever has a transaction open may take a while before the next statement. */
const LONGEST_HOLD_MS = 30_000;

/** "I": idle, "T" and "E": in a transaction; undefined: not at the end of an answer. */
function readyStatus(chunk: Buffer): string | undefined {
  const [type, , , , length, status] = chunk.subarray(-6);
  return type === 0x5a && length === 5 && status !== undefined
    ? String.fromCharCode(status)
    : undefined;
}

/**
 * Keeps "close" back while somebody may still write: each write then fails as the query it is, until
 * nothing more is written. In a transaction somebody will, if only to roll back. A connection that
 * is idle outside a transaction closes at once.
 */
export function holdClose<Socket extends net.Socket>(socket: Socket): Socket {
  const emit = socket.emit.bind(socket) as (event: string, ...values: unknown[]) => boolean;
  const write = socket.write.bind(socket) as (...values: unknown[]) => boolean;
  let status: string | undefined;
  let isWaiting = true;
  let isGone = false;
  let isOwed = false;
  let lastWrite = 0;

  const closeWhenQuiet = (values: unknown[], until: number) => {
    const now = Date.now();
    const isQuiet = !isOwed && now - lastWrite >= QUIET_MS;
    if (isQuiet || now >= until) emit("close", ...values);
    else setTimeout(closeWhenQuiet, QUIET_MS / 2, values, until);
  };

  return Object.assign(socket, {
    write(...values: unknown[]): boolean {
      lastWrite = Date.now();
      isWaiting = true;
      isOwed = false;
      if (!isGone) return write(...values);
      setImmediate(() => emit("error", lost()));
      return true;
    },
    emit(event: string, ...values: unknown[]): boolean {
      if (event === "data") {
        const ready = readyStatus(values[0] as Buffer);
        if (ready !== undefined) {
          status = ready;
          isWaiting = false;
        }
      }
      if (event !== "close") return emit(event, ...values);
      isGone = true;
      if (status === undefined || (status === "I" && !isWaiting)) return emit("close", ...values);
      lastWrite = Date.now();
      isOwed = status !== "I";
      emit("error", lost());
      closeWhenQuiet(values, lastWrite + LONGEST_HOLD_MS);
      return true;
    },
  });
}
