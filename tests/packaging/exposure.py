"""What the manifests of examples/sidecar leave open: ports, secrets, and the order in which containers stop."""

import re

from sidecar import API, ROOT, Manifests, variables

EXTERNAL = {"orders-tls", "billing-client", "orders-ca"}


def seconds(text):
    number = re.fullmatch(r"(\d+)s", text)
    assert number, text
    return int(number.group(1))


def draining(environment, prefix, file):
    """How long a process takes to stop at most, by its variables and by the defaults in the example of its settings."""
    defaults = dict(re.findall(r'^# (drain_\w+) = "(\w+)"$', (ROOT / "examples" / file).read_text(), re.MULTILINE))
    assert len(defaults) == 3, defaults
    return sum(seconds(environment.get(f"{prefix}_{name.upper()}", value)) for name, value in defaults.items())


def sidecars(manifests):
    """Each sidecar with its variables, by the kind of its settings."""
    yield "GUARD", "sealwright-guard.toml", variables(manifests.container("orders", "guard"))
    yield "ATTACH", "sealwright-attach.toml", variables(manifests.container("billing", "attach"))
    yield "GUARD", "sealwright-guard.toml", manifests.services["orders"]["environment"]
    yield "ATTACH", "sealwright-attach.toml", manifests.services["billing-attach"]["environment"]


def gd1_nothing_but_the_guard_reaches_the_api(_):
    """In a pod the API is on 127.0.0.1, and a policy admits the port of the guard alone; Compose gives the two a network of their own."""
    manifests = Manifests()
    api, guard = (manifests.container("orders", name) for name in ["orders-api", "guard"])
    assert "ports" not in api and variables(api)["HOST"] == "127.0.0.1"
    assert variables(guard)["SEALWRIGHT_GUARD_UPSTREAM"] == API == f"http://127.0.0.1:{variables(api)['PORT']}"
    assert not manifests.pod("orders").get("hostNetwork"), "127.0.0.1 would be that of the node"

    for name, owner in [("orders", "guard"), ("billing", "billing")]:
        labels = manifests.object("Deployment", name)["spec"]["template"]["metadata"]["labels"]
        policy, service = (manifests.object(kind, name)["spec"] for kind in ["NetworkPolicy", "Service"])
        assert policy["podSelector"]["matchLabels"].items() <= labels.items() and policy["policyTypes"] == ["Ingress"]
        assert service["selector"].items() <= labels.items()
        open_to_all = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
        named = [port["name"] for port in manifests.container(name, owner)["ports"]]
        assert open_to_all == [port["targetPort"] for port in service["ports"]] == named, (name, open_to_all)
    assert variables(guard)["SEALWRIGHT_GUARD_LISTEN"].endswith(f":{guard['ports'][0]['containerPort']}")

    services = manifests.services
    [network] = services["orders-api"]["networks"]
    assert manifests.compose["networks"][network]["internal"] and "ports" not in services["orders-api"]
    members = [name for name, service in services.items() if network in service.get("networks", {})]
    assert sorted(members) == ["orders", "orders-api"], members
    return "pod and network"


def gd4_only_the_app_reaches_attach_and_only_attach_reads_the_secret(_):
    """They share 127.0.0.1, and the Secret is mounted in one container. Attach starts before the app."""
    manifests = Manifests()
    pod, services = manifests.pod("billing"), manifests.services
    [attach] = pod["initContainers"]
    assert attach["restartPolicy"] == "Always" and "startupProbe" in attach and not pod.get("hostNetwork")
    for _, _, environment in sidecars(manifests):
        if listen := environment.get("SEALWRIGHT_ATTACH_LISTEN"):
            assert listen.startswith("127.0.0.1:")
    assert services["billing"]["network_mode"] == "service:billing-attach"
    assert services["billing"]["depends_on"]["billing-attach"]["condition"] == "service_healthy"
    for deployment, owner in [("orders", "guard"), ("billing", "attach")]:
        for container in manifests.pod(deployment)["containers"] + manifests.pod(deployment).get("initContainers", []):
            assert container["name"] == owner or not container.get("volumeMounts"), container["name"]
    secrets = {name: sorted(used["source"] for used in service.get("secrets", [])) for name, service in services.items()}
    assert secrets == {"orders": ["orders.key"], "billing-attach": ["billing"], "billing": [], "orders-api": []}, secrets
    return "pod and service"


def op14_a_pod_leaves_its_sidecar_time_to_drain(_):
    """The API outlives the drain of the guard, and the grace period is longer than each."""
    manifests = Manifests()
    drains = [draining(environment, f"SEALWRIGHT_{kind}", file) for kind, file, environment in sidecars(manifests)]
    sleeps = manifests.container("orders", "orders-api")["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = [manifests.pod(name)["terminationGracePeriodSeconds"] for name in ["orders", "billing"]]
    stops = [seconds(manifests.services[name]["stop_grace_period"]) for name in ["orders", "billing-attach"]]
    assert drains[0] < sleeps < grace[0] - 10, "the API has 10 s after its sleep"
    assert all(drain < limit for drain, limit in zip(drains, [*grace, *stops], strict=True)), (drains, grace, stops)
    assert manifests.services["orders"]["depends_on"].keys() == {"orders-api"}, "Compose stops the guard first"
    return f"drains of {drains} s"


def gd4_every_object_that_the_guide_does_not_ask_for_is_in_the_manifests(_):
    """A pod that names a Secret or a ConfigMap that is nowhere stays in ContainerCreating."""
    manifests = Manifests()
    guide = (ROOT / "docs/sidecar.md").read_text()
    named = set()
    for deployment in ["orders", "billing"]:
        pod = manifests.pod(deployment)
        for volume in pod["volumes"]:
            named.add(volume["secret"]["secretName"] if "secret" in volume else volume["configMap"]["name"])
        mounted = {mount["name"] for part in ["initContainers", "containers"] for found in pod.get(part, []) for mount in found.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, deployment
    assert named - {name for kind, name in manifests.objects if kind == "ConfigMap"} == EXTERNAL, named
    for name in EXTERNAL:
        assert re.search(rf"^kubectl .*create .*\b{name}\b", guide, re.MULTILINE), name
    return f"{len(named)} objects"
