// For tsc: the handler of Deno.serve is also told whose connection it is.
declare namespace Deno {
  function serve(
    handler: (
      request: Request,
      info: { remoteAddr?: { hostname?: string } },
    ) => Response | Promise<Response>,
  ): unknown;
}
