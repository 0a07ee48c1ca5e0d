// A caller of the API in bodies.mjs: node caller.mjs WHAT URL TOKEN. Writes what it saw as one line of JSON.
import http from "node:http";
import http2 from "node:http2";
import WebSocket from "ws";

const [what, url, token] = process.argv.slice(2);
const { origin, pathname, search } = new URL(url);
const authorization = `Bearer ${token}`;
const path = pathname + search;

async function text(stream) {
  let all = "";
  for await (const piece of stream) all += piece;
  return all;
}

function open(session, method, path, headers = {}, options = {}) {
  const stream = session.request({ ":method": method, ":path": path, authorization, te: "trailers", ...headers }, options);
  const head = new Promise((arrived, failed) => {
    stream.once("response", arrived);
    stream.once("error", failed);
  });
  return { stream, head };
}

const callers = {
  // A body with trailers, and an answer with trailers.
  async http1() {
    const headers = { authorization, te: "trailers", connection: "te", trailer: "content-digest, x-own", "transfer-encoding": "chunked" };
    const request = http.request(url, { method: "POST", headers });
    request.write("some ");
    request.addTrailers({ "content-digest": "sha-256=:YQ==:", "x-own": "1" });
    request.end("text");
    const answer = await new Promise((arrived, failed) => request.on("response", arrived).on("error", failed));
    return { status: answer.statusCode, body: JSON.parse(await text(answer)) };
  },
  async http2() {
    const session = http2.connect(origin);
    // An API with HTTP/1.1 gets those that are announced.
    const { stream, head } = open(session, "POST", path, { trailer: "content-digest, x-own" }, { endStream: false, waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "content-digest": "sha-256=:YQ==:", "x-own": "1" }));
    stream.write("some ");
    stream.end("text");
    const status = (await head)[":status"];
    const body = JSON.parse(await text(stream));
    session.close();
    return { status, body };
  },
  // Trailers of an answer over HTTP/2.
  async trailers() {
    const session = http2.connect(origin);
    const { stream, head } = open(session, "GET", path);
    let trailers = {};
    stream.on("trailers", (received) => (trailers = received));
    await head;
    await text(stream);
    session.close();
    return { ...trailers };
  },
  // One stream is not read while others of the same connection go on; then it is read to its end.
  async shared() {
    const session = http2.connect(origin);
    await new Promise((connected) => session.once("connect", connected));
    session.setLocalWindowSize(16 * 1024 * 1024);
    const slow = open(session, "GET", path);
    await slow.head;
    let others = 0;
    for (let number = 0; number < 50; number += 1) {
      const { stream, head } = open(session, "GET", "/body?length=100000&name=other");
      await head;
      others += (await text(stream)).length;
    }
    let length = 0;
    slow.stream.on("data", (piece) => (length += piece.length));
    await new Promise((ended, failed) => slow.stream.on("end", ended).on("error", failed));
    session.close();
    return { others, length };
  },
  async websocket() {
    const socket = new WebSocket(url, { headers: { authorization }, perMessageDeflate: true });
    const pongs = new Promise((ponged) => socket.once("pong", (data) => ponged(String(data))));
    await new Promise((opened, failed) => socket.once("open", opened).once("error", failed));
    socket.ping("are you there");
    let echoed = 0;
    const next = () => new Promise((arrived) => socket.once("message", (data, isBinary) => arrived([data, isBinary])));
    for (const message of ["text", "", "ü".repeat(70000), Buffer.alloc(0), Buffer.alloc(8 * 1024 * 1024, 7)]) {
      const answer = next();
      socket.send(message);
      const [data, isBinary] = await answer;
      if (isBinary !== Buffer.isBuffer(message) || !Buffer.from(data).equals(Buffer.from(message))) throw new Error("another message");
      echoed += 1;
    }
    const pong = await pongs;
    const closed = new Promise((over) => socket.once("close", (code, reason) => over([code, String(reason)])));
    socket.send("close");
    return { echoed, pong, closed: await closed, extensions: socket.extensions };
  },
};

console.log(JSON.stringify(await callers[what]()));
