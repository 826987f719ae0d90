// Run a Node handler inside a worker process, one request after the other.
//
// Started as `node worker.cjs HANDLER` in the code's folder, with the hub's socket as fd 3.
// Node 18 or later, its standard library only.
"use strict";

// Node's own modules come compiled, for V8's flags as they are by default: where one says how large the heap is, each is
// compiled anew. V8 reads it as it makes a heap and not again, so it is taken back until the code is loaded, or until a
// thread is to have a heap of its own.
const HEAP = process.execArgv.findLast((word) => word.startsWith("--max-old-space-size="));
const { setFlagsFromString } = HEAP ? ofV8() : {};
setFlag("--max-old-space-size=0");

const { createHook } = require("node:async_hooks");
const { existsSync, readFileSync, realpathSync } = require("node:fs");
const { Socket } = require("node:net");
const { basename, dirname } = require("node:path");
const { Writable } = require("node:stream");
const { pathToFileURL } = require("node:url");
const { format } = require("node:util");

const INVOKE = 1, READY = 2, UNLOADABLE = 3, RESULT = 4, ERROR = 5, PART = 7, LEFT = 8;
const HEAD = 12;
const MAX_RESPONSE = 6 * 1024 * 1024 + 100;
const MAX_PART = 64 * 1024;
const MAX_MESSAGE = 4096;
const MAX_TYPE = 256;
// By name: a handler that replaces JSON.stringify must not change what the hub is told.
const { parse, stringify } = JSON;

const socket = new Socket({ fd: 3, readable: true, writable: true });
let requestId = null;
let current = null; // the running request: { settle(value), fail(error), settled }

class Fault extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

function send(kind, header, payload = Buffer.alloc(0), then = undefined) {
  const text = Buffer.from(stringify(header));
  const head = Buffer.alloc(HEAD);
  head.write("TH", "latin1");
  head[2] = kind;
  head.writeUInt32BE(text.length, 4);
  head.writeUInt32BE(payload.length, 8);
  socket.write(Buffer.concat([head, text, payload]), then);
}

function describe(error) {
  let body;
  if (error instanceof Error || (error && typeof error.stack === "string")) {
    body = {
      errorType: String(error.name ?? "Error"),
      errorMessage: String(error.message ?? ""),
      trace: String(error.stack ?? "").split("\n"),
    };
  } else {
    body = { errorType: typeof error, errorMessage: format("%s", error), trace: [] };
  }
  console.error(error instanceof Fault ? `${body.errorType}: ${body.errorMessage}` : format("%s", error?.stack ?? error));
  let payload = Buffer.from(stringify(body));
  if (payload.length > MAX_RESPONSE) {
    body = { errorType: cut(body.errorType, MAX_TYPE), errorMessage: cut(body.errorMessage, MAX_MESSAGE), trace: [] };
    payload = Buffer.from(stringify(body));
  }
  return [{ type: cut(body.errorType, MAX_TYPE), message: cut(body.errorMessage, MAX_MESSAGE) }, payload];
}

// Beside the mark the hub knows a part of a secret, which here nobody can.
function cut(text, most) {
  return text.length <= most ? text : text.slice(0, most - 1) + "\u2026";
}

function marshal(value) {
  let payload;
  try {
    payload = Buffer.from(stringify(value === undefined ? null : value) ?? "null");
  } catch (error) {
    throw new Fault("Runtime.MarshalError", `Unable to stringify response body: ${error.message}`);
  }
  if (payload.length > MAX_RESPONSE) {
    throw new Fault(
      "Function.ResponseSizeTooLarge",
      `Response payload size exceeded maximum allowed payload size (${MAX_RESPONSE} bytes).`,
    );
  }
  return payload;
}

const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
const inJson = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === "JSON";
const least = inJson ? LEVELS.indexOf(process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()) : -1;

function asJson(timestamp, level, args) {
  const line = { timestamp, level, requestId: requestId ?? undefined };
  const error = args.find((one) => one instanceof Error);
  const told = error && { errorType: error.name, errorMessage: error.message, stackTrace: String(error.stack).split("\n") };
  if (args.length === 1) {
    try {
      return stringify({ ...line, message: told ?? args[0] });
    } catch {
      return stringify({ ...line, message: format(...args) });
    }
  }
  return stringify({ ...line, message: format(...args), ...told });
}

for (const [name, level] of [
  ["log", "INFO"], ["info", "INFO"], ["warn", "WARN"], ["error", "ERROR"], ["debug", "DEBUG"], ["trace", "TRACE"],
]) {
  console[name] = (...args) => {
    if (LEVELS.indexOf(level) < least) return;
    const now = new Date().toISOString();
    const line = inJson ? asJson(now, level, args) : `${now}\t${requestId ?? "undefined"}\t${level}\t${format(...args)}`;
    process.stdout.write(`${line}\n`);
  };
}

// What node:v8 is made of, which it would have compiled anew before anybody could take the flag back: streams and more.
function ofV8() {
  const told = Object.getOwnPropertyDescriptor(process, "noDeprecation");
  try {
    // Where Node was told to be silent, it cannot be set.
    if (!process.noDeprecation) process.noDeprecation = true;
    return process.binding("v8");
  } catch {
    return require("node:v8");
  } finally {
    if (!told) delete process.noDeprecation;
  }
}

function setFlag(flag) {
  try {
    setFlagsFromString?.(flag);
  } catch {
    // Whoever refuses starts all the same, only later.
  }
}

async function withoutHeap(notation) {
  const hook = createHook({ init: (_, type) => type === "WORKER" && end() });
  const end = () => {
    hook.disable();
    setFlag(HEAP);
  };
  hook.enable();
  try {
    return await load(notation);
  } finally {
    end();
  }
}

// What is surely CommonJS is required, as by Lambda's client: what `import` needs is then not loaded at all.
async function exportsOf(path) {
  const real = realpathSync(path);
  if (isCommonJs(real)) {
    try {
      return { default: require(real) };
    } catch (error) {
      // Nothing of it has run: an `await` outside of functions made it a module.
      if (error?.code !== "ERR_REQUIRE_ASYNC_MODULE" || REQUIRED.exec(error.message)?.[1] !== real) throw error;
    }
  }
  return import(pathToFileURL(path));
}

// Which module has the `await`, as Node's error says.
const REQUIRED = /^ *Requir(?:ing|ed module:) (.*?) *$/m;
// These may change what is imported, and how.
const HOOKS = /(?:^|\s)(?:-r|--(?:(?:experimental-)?(?:loader|import|default-type)|require|preserve-symlinks))\b/;
// Whatever takes this for code of a module is only loaded more slowly.
const STATEMENT = /(?:^|[;}]|\*\/)[^\S\n]*(?:import|export)\b[^\S\n]*[\w$*{"'/\n]/m;

function isCommonJs(path) {
  if (HOOKS.test([process.env.NODE_OPTIONS, ...process.execArgv].join(" ").replaceAll("_", "-"))) return false;
  if (path.endsWith(".cjs")) return true;
  if (!path.endsWith(".js")) return false;
  const type = typeIn(dirname(path));
  return type === "commonjs" || (type === undefined && !STATEMENT.test(readFileSync(path, "utf8")));
}

// As Node finds it: the nearest package.json tells, wherever that is.
function typeIn(folder) {
  if (basename(folder) === "node_modules") return undefined;
  let text;
  try {
    text = readFileSync(`${folder}/package.json`, "utf8");
  } catch {
    const above = dirname(folder);
    return above === folder ? undefined : typeIn(above);
  }
  try {
    return parse(text).type;
  } catch {
    return null;
  }
}

async function load(notation) {
  const slash = notation.lastIndexOf("/") + 1;
  const dot = notation.indexOf(".", slash);
  if (dot < 0) throw new Fault("Runtime.MalformedHandlerName", "Bad handler");
  const stem = notation.slice(0, dot);
  const attribute = notation.slice(dot + 1);
  const path = ["", ".js", ".mjs", ".cjs"].map((suffix) => `${process.cwd()}/${stem}${suffix}`).find(existsSync);
  if (!path) throw new Fault("Runtime.ImportModuleError", `Error: Cannot find module '${stem}'`);
  let module;
  try {
    module = await exportsOf(path);
  } catch (error) {
    if (error?.code === "MODULE_NOT_FOUND" || error?.code === "ERR_MODULE_NOT_FOUND") {
      throw new Fault("Runtime.ImportModuleError", String(error));
    }
    if (error instanceof SyntaxError) throw new Fault("Runtime.UserCodeSyntaxError", String(error) + place(error, path));
    throw error;
  }
  const names = attribute ? [attribute] : ["handler", "lambda_handler"];
  for (const name of names) {
    for (const holder of [module, module.default]) {
      const found = name.split(".").reduce((value, part) => value?.[part], holder);
      if (typeof found === "function") return found;
      if (found !== undefined) {
        throw new Fault("Runtime.HandlerNotFound", `${stem}.${name} is not a function`);
      }
    }
  }
  throw new Fault("Runtime.HandlerNotFound", `${stem}.${names[0]} is undefined or not exported`);
}

// Node keeps the place of a syntax error before its stack (CommonJS), or for nobody but itself (modules).
function place(error, path) {
  const where = /^(?:file:\/\/)?(\/.*):(\d+)\n/;
  const told = where.exec(error.stack) ?? where.exec(checked(path));
  return told ? ` (${basename(told[1])}, line ${told[2]})` : "";
}

function checked(path) {
  const { spawnSync } = require("node:child_process");
  return spawnSync(process.execPath, ["--check", path], { encoding: "utf8", timeout: 5000 }).stderr ?? "";
}

// What handlers know as `awslambda`: a marked handler is given a stream for its answer.
const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const INTEGRATION = "application/vnd.awslambda.http-integration-response";

class ResponseStream extends Writable {
  #request;
  #type = "application/octet-stream";
  #prelude = null;
  #begun = false;

  constructor(request) {
    super({ highWaterMark: MAX_PART });
    this.#request = request;
  }

  setContentType(type) {
    if (this.#begun) throw new Fault("Runtime.InvalidStreamingOperation", "Cannot set content-type, too late.");
    this.#type = String(type);
  }

  // Status and headers go before the body, and eight zeros between them.
  static withPrelude(stream, prelude) {
    stream.setContentType(INTEGRATION);
    stream.#prelude = Buffer.concat([Buffer.from(stringify(prelude ?? {})), Buffer.alloc(8)]);
    return stream;
  }

  write(chunk, ...rest) {
    return super.write(textual(chunk), ...rest);
  }

  end(chunk, ...rest) {
    const given = chunk === undefined || chunk === null || typeof chunk === "function";
    return given ? super.end(chunk, ...rest) : super.end(textual(chunk), ...rest);
  }

  _write(chunk, encoding, done) {
    const prelude = this.#begun ? null : this.#prelude;
    const header = this.#begun ? {} : { type: this.#type };
    this.#begun = true;
    const whole = prelude ? Buffer.concat([prelude, chunk]) : chunk;
    let start = 0;
    do {
      const part = whole.subarray(start, start + MAX_PART);
      start += MAX_PART;
      const last = start >= whole.length;
      send(PART, { id: this.#request.id, ...(start === MAX_PART ? header : {}) }, part, last ? () => done() : undefined);
    } while (start < whole.length);
  }

  _final(done) {
    // One that wrote nothing has a type, and a prelude, all the same.
    if (this.#begun) done();
    else this._write(Buffer.alloc(0), "buffer", done);
  }
}

function textual(chunk) {
  return typeof chunk === "string" || chunk instanceof Uint8Array ? chunk : (stringify(chunk) ?? "undefined");
}

globalThis.awslambda = {
  streamifyResponse(handler, options) {
    handler[STREAMING] = "response";
    if (options?.highWaterMark !== undefined) handler[Symbol.for("aws.lambda.runtime.handler.streaming.highWaterMark")] = options.highWaterMark;
    return handler;
  },
  HttpResponseStream: { from: ResponseStream.withPrelude },
};

// The answer is whole once the handler has returned and its stream has ended, whichever is later.
function stream(handler, event, context, request) {
  const response = new ResponseStream(request);
  let returned = false;
  const whole = () => {
    if (returned && (response.writableFinished || request.left)) finish(request, RESULT, {}, Buffer.alloc(0));
  };
  request.leave = () => {
    request.left = true;
    response.destroy(new Fault("Runtime.StreamClosed", "nobody takes the answer any more"));
    whole();
  };
  // A loop that ran dry has no more to write.
  request.dry = () => {
    returned = true;
    if (response.writableEnded) whole();
    else response.end();
  };
  response.on("finish", whole);
  response.on("close", whole);
  response.on("error", (error) => {
    if (!request.left) request.fail(error);
  });
  let result;
  try {
    result = handler(event, response, context);
  } catch (error) {
    return request.left ? request.dry() : request.fail(error);
  }
  Promise.resolve(result).then(
    () => {
      returned = true;
      whole();
    },
    (error) => {
      returned = true;
      if (request.left) whole();
      else request.fail(error);
    },
  );
}

function contextOf(header, request) {
  const end = performance.now() + Number(header.remaining);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: header.client ? parse(header.client) : undefined,
    identity: undefined,
    invokedFunctionArn: header.arn,
    awsRequestId: header.id,
    getRemainingTimeInMillis: () => Math.max(0, Math.floor(end - performance.now())),
    done: (error, value) => (error ? request.fail(error) : request.settle(value)),
    fail: (error) => request.fail(error ?? "handled"),
    succeed: (value) => request.settle(value),
  };
}

function finish(request, kind, header, payload) {
  if (request.settled) return;
  request.settled = true;
  current = null;
  const tell = () => {
    // Between requests it is the socket that keeps the process alive.
    socket.ref();
    send(kind, { id: request.id, ...header }, payload);
    requestId = null;
  };
  // What did not fit into the pipe is still here: it belongs before the answer.
  if (header.last || !process.stdout.writableLength || !process.stdout.writable) tell();
  else process.stdout.write("", tell);
}

function fail(request, error, last) {
  if (request.settled) return;
  const [told, payload] = describe(error);
  finish(request, ERROR, last ? { ...told, last: "1" } : told, payload);
}

function settle(request, value) {
  if (request.settled) return;
  try {
    finish(request, RESULT, {}, marshal(value));
  } catch (error) {
    fail(request, error);
  }
}

function run(handler, header, body) {
  const request = { id: header.id, settled: false, called: false, value: undefined };
  request.settle = (value) => settle(request, value);
  request.fail = (error) => fail(request, error);
  current = request;
  requestId = header.id;
  if (header.trace) process.env._X_AMZN_TRACE_ID = header.trace;
  else delete process.env._X_AMZN_TRACE_ID;
  // A handler that waits for nothing any more has ended: then the loop runs dry, and `beforeExit` tells.
  socket.unref();
  let context, event;
  try {
    context = contextOf(header, request);
  } catch (error) {
    return fail(request, new Fault("Runtime.LambdaContextUnmarshalError", `Unable to parse client context: ${error.message}`));
  }
  try {
    event = parse(body.toString());
  } catch (error) {
    return fail(request, new Fault("Runtime.UnmarshalError", `Unable to unmarshal input: ${error.message}`));
  }
  const callback = (error, value) => {
    if (request.called) return;
    request.called = true;
    if (error) request.fail(error);
    else if (context.callbackWaitsForEmptyEventLoop) request.value = value;
    else request.settle(value);
  };
  if (handler[STREAMING] === "response") return stream(handler, event, context, request);
  let result;
  try {
    result = handler(event, context, callback);
  } catch (error) {
    return fail(request, error);
  }
  if (typeof result?.then === "function") result.then(request.settle, request.fail);
  else if (result !== undefined && handler.length < 3) request.settle(result);
}

process.on("beforeExit", () => {
  if (current?.dry) current.dry();
  else if (current) settle(current, current.value);
});

function die(error) {
  if (current) {
    fail(current, error, true);
  } else {
    describe(error);
  }
  // What is written to a socket is gone only when it says so.
  socket.end(() => process.exit(129));
}
process.on("uncaughtException", die);
process.on("unhandledRejection", (reason) => {
  // Of an error %s would be its whole stack.
  const text = reason?.stack ? String(reason) : format("%s", reason);
  const error = new Fault("Runtime.UnhandledPromiseRejection", text);
  if (reason?.stack) error.stack = `Runtime.UnhandledPromiseRejection: ${reason.stack}`;
  die(error);
});

function serve(handler) {
  let chunks = [];
  let size = 0;
  let wanted = HEAD;
  socket.on("data", (chunk) => {
    chunks.push(chunk);
    size += chunk.length;
    while (size >= wanted) {
      const data = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
      const header = data.readUInt32BE(4);
      const payload = data.readUInt32BE(8);
      if (data.toString("latin1", 0, 2) !== "TH" || (data[2] !== INVOKE && data[2] !== LEFT)) process.exit(70);
      wanted = HEAD + header + payload;
      chunks = [data];
      if (size < wanted) return;
      const kind = data[2];
      const told = parse(data.toString("utf8", HEAD, HEAD + header));
      const body = data.subarray(HEAD + header, wanted);
      const rest = data.subarray(wanted);
      chunks = rest.length ? [rest] : [];
      size = rest.length;
      wanted = HEAD;
      if (kind === INVOKE) run(handler, told, body);
      else if (current?.id === told.id) current.leave?.();
    }
  });
}

// Gone with the hub, and with everything that the handler started.
socket.on("end", () => process.kill(0, "SIGKILL"));
socket.on("error", () => process.kill(0, "SIGKILL"));

process.env.AWS_EXECUTION_ENV ??= `AWS_Lambda_nodejs${process.versions.node.split(".")[0]}.x`;
async function start() {
  let handler;
  try {
    handler = await (HEAP ? withoutHeap : load)(process.argv[2]);
  } catch (error) {
    const [told, payload] = describe(error);
    return send(UNLOADABLE, told, payload, () => process.exit(1));
  }
  serve(handler);
  send(READY, {});
}
start();
