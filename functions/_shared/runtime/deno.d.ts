// For tsc, which knows only what the Edge Runtime adds to Deno; Deno itself does not read this.
declare namespace Deno {
  function serve(handler: (request: Request) => Response | Promise<Response>): unknown;
}
