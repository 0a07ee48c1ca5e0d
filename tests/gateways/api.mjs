// An API in Node: it answers every request, and reports what it received.
//
// It prints the port of the API and the port of its reports.

import http from "node:http";

let received = [];

const api = http.createServer(async (request, answer) => {
  let body = "";
  for await (const part of request) body += part;
  const raw = request.rawHeaders;
  const headers = raw.flatMap((name, at) => (at % 2 ? [] : [[name, raw[at + 1]]]));
  received.push({ method: request.method, target: request.url, headers, body });
  answer.writeHead(200, { "content-type": "text/plain" }).end("in");
});

const reports = http.createServer((_, answer) => {
  answer.end(JSON.stringify(received));
  received = [];
});

const listening = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
console.log(JSON.stringify([await listening(api), await listening(reports)]));
