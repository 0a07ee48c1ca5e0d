// The same API in each framework for Node: node paths.mjs. Writes the ports by name as one line of JSON. Each handler says in a header what it is,
// and whose data it serves.
import http from "node:http";
import Router from "@koa/router";
import express from "express";
import express4 from "express-4";
import fastify from "fastify";
import fastify4 from "fastify-4";
import Koa from "koa";
import methodOverride from "method-override";

const marked = (handler, id = "") => ({ "x-handler": handler, "x-id": encodeURIComponent(id) });

function onExpress(framework) {
  // In another environment, it writes each invalid request to standard error.
  const app = framework().set("env", "test");
  app.use(methodOverride(), methodOverride("X-Method-Override"), methodOverride("_method"));
  const mark = (handler) => (request, response) => response.set(marked(handler, request.params.id)).send("in");
  app.all("/admin", mark("admin"));
  app.use("/admin", mark("admin"));
  app.delete("/orders/:id", mark("delete"));
  app.all("/orders/:id", mark("read"));
  app.all("/users/:id", mark("user"));
  app.use(mark("public"));
  return http.createServer(app);
}

async function onFastify(framework, options) {
  const app = framework({ ...options, serverFactory: (handler) => http.createServer(handler) });
  const mark = (handler) => (request, reply) => reply.headers(marked(handler, request.params.id)).send("in");
  app.all("/admin", mark("admin"));
  app.all("/admin/*", mark("admin"));
  app.delete("/orders/:id", mark("delete"));
  app.route({ method: ["GET", "HEAD", "POST", "PUT", "PATCH"], url: "/orders/:id", handler: mark("read") });
  app.all("/users/:id", mark("user"));
  app.setNotFoundHandler(mark("public"));
  await app.ready();
  return app.server;
}

function onKoa(options) {
  const app = new Koa();
  app.silent = true;
  const router = new Router(options);
  const mark = (handler) => (context) => {
    context.set(marked(handler, context.params?.id));
    context.body = "in";
  };
  router.all("/admin", mark("admin"));
  router.all("/admin/{*rest}", mark("admin"));
  router.delete("/orders/:id", mark("delete"));
  router.all("/orders/:id", mark("read"));
  router.all("/users/:id", mark("user"));
  app.use(router.routes()).use(mark("public"));
  return http.createServer(app.callback());
}

const lenient = { caseSensitive: false, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true };
const servers = {
  "Express 5": onExpress(express),
  "Express 4": onExpress(express4),
  "Fastify 5": await onFastify(fastify, {}),
  "Fastify 5, lenient": await onFastify(fastify, { routerOptions: { ...lenient, useSemicolonDelimiter: true } }),
  "Fastify 4": await onFastify(fastify4, {}),
  Koa: onKoa({}),
};
const ports = {};
for (const [name, server] of Object.entries(servers)) {
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  ports[name] = server.address().port;
}
console.log(JSON.stringify(ports));
