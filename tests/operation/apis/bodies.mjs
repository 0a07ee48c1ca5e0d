// An API of large bodies, over HTTP/1.1 and over HTTP/2 without TLS. Writes the two ports as one line of JSON.
import crypto from "node:crypto";
import { EventEmitter } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import { Readable } from "node:stream";
import { WebSocketServer } from "ws";

const BLOCK = 64 * 1024;
// How much of each slow transfer was read from its source or from its caller, by the name of the transfer.
const moved = {};
const released = new EventEmitter().setMaxListeners(0);

// Each block begins with its number, so that a block that is lost or moved is noticed.
function* blocks(length, name) {
  for (let number = 0; number * BLOCK < length; number += 1) {
    const block = Buffer.alloc(Math.min(BLOCK, length - number * BLOCK));
    block.writeBigUInt64BE(BigInt(number));
    moved[name] = number * BLOCK + block.length;
    yield block;
  }
}

async function digest(request, name) {
  const hash = crypto.createHash("sha256");
  let length = 0;
  for await (const piece of request) {
    hash.update(piece);
    length += piece.length;
    moved[name] = length;
  }
  return { length, sha256: hash.digest("hex") };
}

async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const name = searchParams.get("name");
  const json = (value) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(value));
  };
  if (pathname === "/body" && request.method === "GET") {
    const length = Number(searchParams.get("length"));
    if (searchParams.has("chunked")) {
      response.setHeader("trailer", "x-end");
    } else {
      response.setHeader("content-length", length);
    }
    const body = Readable.from(blocks(length, name), { objectMode: false });
    body.on("end", () => searchParams.has("chunked") && response.addTrailers({ "x-end": "of the answer" }));
    body.pipe(response);
  } else if (pathname === "/body") {
    if (searchParams.has("wait")) await new Promise((go) => released.once("go", go));
    const framing = request.headers["content-length"] ?? request.headers["transfer-encoding"] ?? "none";
    json({ ...(await digest(request, name)), framing, trailers: request.trailers, protocol: request.httpVersion });
  } else if (pathname === "/echo") {
    request.pipe(response);
  } else if (pathname === "/events") {
    response.setHeader("content-type", "text/event-stream");
    response.write("data: first\n\n");
    released.once("go", () => response.end("data: second\n\n"));
  } else if (pathname === "/release") {
    released.emit("go");
    json({});
  } else if (pathname === "/moved") {
    json(moved);
  } else {
    json({ small: true, protocol: request.httpVersion });
  }
}

function listen(server) {
  server.on("request", (request, response) => {
    answer(request, response).catch(() => request.destroy());
  });
  return new Promise((listening) => server.listen(0, "127.0.0.1", () => listening(server.address().port)));
}

const first = http.createServer();
first.requestTimeout = 0;
new WebSocketServer({ server: first, perMessageDeflate: true }).on("connection", (socket) => {
  socket.on("message", (data, isBinary) => {
    if (String(data) === "close") socket.close(4001, "as asked");
    else socket.send(data, { binary: isBinary });
  });
});
const second = http2.createServer();
console.log(JSON.stringify({ http1: await listen(first), http2: await listen(second) }));
