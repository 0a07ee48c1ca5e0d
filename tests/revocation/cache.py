"""nginx as an HTTP cache in front of one node, and the front of all nodes, which sends some verifiers through it and can repeat old lists."""

# needs: nginx=nginx-light

import collections
import contextlib

from front import Forwarder
from proxies import NGINX_HEAD, proxy

# Its workers write to the folder, which is root's. The other node is asked only while the cached one does not answer.
NGINX = (
    "user root;"
    + NGINX_HEAD
    + """
    proxy_cache_path {folder}/cache keys_zone=answers:1m use_temp_path=off;
    upstream nodes {{
        server {host}:{port} max_fails=0;
        server OTHER backup;
    }}
    server {{
        listen 127.0.0.1:{listen};
        location / {{
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_connect_timeout 1s;
            proxy_read_timeout 2s;
            proxy_cache answers;
            proxy_cache_lock on;
            proxy_cache_revalidate on;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""
)
LISTS = "/oauth/status-lists/"
# What the names of verifiers begin with that are sent through the cache.
CACHED = "cached"


@contextlib.contextmanager
def cache_before(nodes):
    """The address of the cache."""
    other = ":".join(map(str, nodes.addresses[1]))
    with proxy("nginx", NGINX.replace("OTHER", other), nodes.nodes[0]) as address:
        yield address


class Front(Forwarder):
    """While it is `replaying`, it answers with each list as it was at first."""

    def __init__(self, addresses, cache):
        super().__init__(addresses)
        self.cache, self.replaying, self.first = cache, False, {}
        # The answers with a list, and the replayed ones, by verifier and list; the longest `max-age`; and the cache's answers by where they came from.
        self.answered, self.replayed, self.max_age, self.from_cache = collections.Counter(), collections.Counter(), 0, collections.Counter()

    def route(self, agent):
        return [self.cache] * 4 if f"({CACHED}-" in agent else super().route(agent)

    async def answer(self, path, agent, request):
        if self.replaying and path in self.first:
            self.replayed[agent, path] += 1
            return self.first[path]
        answer = await super().answer(path, agent, request)
        if path.startswith(LISTS):
            self.note(path, agent, answer)
        return answer

    def note(self, path, agent, answer):
        status, headers, *_ = answer
        if status not in (200, 304):
            return
        self.answered[agent, path] += 1
        ages = [int(part.partition("=")[2]) for part in headers.get("cache-control", "").split(",") if part.strip().startswith("max-age=")]
        self.max_age = max(self.max_age, *ages) if ages else self.max_age
        if came_from := headers.get("x-cache"):
            self.from_cache[came_from] += 1
        if status == 200:
            self.first.setdefault(path, answer)

    def not_replayed(self, path):
        """The verifiers that have read this list, and have not got its old content yet."""
        return sorted({agent for agent, read in self.answered if read == path and not self.replayed[agent, path]})
