// An API in Node: it answers every request, and reports what it received.
//
// It prints the port of the API and the port of its reports.

import { createHash } from "node:crypto";
import http from "node:http";

let received = [];

const report = (request, body) => {
  const raw = request.rawHeaders;
  const headers = raw.flatMap((name, at) => (at % 2 ? [] : [[name, raw[at + 1]]]));
  received.push({ method: request.method, target: request.url, headers, body });
};

const api = http.createServer(async (request, answer) => {
  let body = "";
  for await (const part of request) body += part;
  report(request, body);
  answer.writeHead(200, { "content-type": "text/plain" }).end("in");
});

api.on("upgrade", (request, socket) => {
  report(request, "");
  socket.on("error", () => {});
  // RFC 6455 section 1.3; HAProxy checks it.
  const accepted = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", `Sec-WebSocket-Accept: ${accepted}`];
  socket.end(`${lines.join("\r\n")}\r\n\r\n`);
});

const reports = http.createServer((_, answer) => {
  answer.end(JSON.stringify(received));
  received = [];
});

const listening = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
console.log(JSON.stringify([await listening(api), await listening(reports)]));
