"""The Kubernetes manifests: they fit the published schemas and each other, and name what the product has."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from chatproject import environment
from chatproject.environment import Environment
from chatproject.urls import stream_urlpatterns
from runtime.serve import AFTER_DRAIN_SECONDS, STOP_SECONDS
from tests.servers import ROOT

FOLDER = ROOT / "deploy/kubernetes"
KUSTOMIZATION = "kustomization.yaml"
# The oldest release that the manifests are for, and the newest one whose schemas are known.
OLDEST, NEWEST = "1.28", kubernetes_validate.latest_version()
OBJECTS: dict[str, dict[str, Any]] = {
    found["kind"]: found
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name != KUSTOMIZATION
    for found in yaml.safe_load_all(path.read_text())
}
POD = OBJECTS["Deployment"]["spec"]["template"]
JOB = OBJECTS["Job"]["spec"]["template"]
CONTAINERS = {"Deployment": POD["spec"]["containers"][0], "Job": JOB["spec"]["containers"][0]}
SETTINGS: dict[str, str] = OBJECTS["ConfigMap"]["data"]
SECRETS = re.findall(r"^([A-Z_]+)=(.*)$", (FOLDER / "secrets.env.example").read_text(), re.MULTILINE)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_fit_the_published_schemas(kind: str, version: str) -> None:
    """Each object has only fields that Kubernetes knows, of the right types."""
    kubernetes_validate.validate(OBJECTS[kind], version, strict=True)


def test_the_schemas_refuse_mistakes() -> None:
    """A misspelt field is found, so the check above checks something."""
    wrong = {**OBJECTS["Service"], "spec": {**OBJECTS["Service"]["spec"], "selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_all_files_are_applied_or_named() -> None:
    """The kustomization has each file, but for the job before it and the optional autoscaler, which say how."""
    listed = set(yaml.safe_load((FOLDER / KUSTOMIZATION).read_text())["resources"])
    others = {"setup.yaml", "autoscaling.yaml", KUSTOMIZATION}
    assert listed | others == {path.name for path in FOLDER.glob("*.yaml")}
    handbook = (ROOT / "docs/operations.md").read_text()
    named = set(re.findall(r"deploy/kubernetes/([\w.]+)", handbook))
    assert others - {KUSTOMIZATION} <= named
    assert {name for name in named if not (FOLDER / name).exists()} == {"secrets.env"}


def test_settings_exist_and_are_accepted() -> None:
    """The settings of the ConfigMap and the example of the Secret are ours, and a start accepts them."""
    assert {*SETTINGS, *dict(SECRETS)} <= set(Environment.model_fields)
    assert not set(SETTINGS) & set(dict(SECRETS))
    secrets = {name for name in Environment.model_fields if environment._may_be_file(name)}
    assert {name for name in SETTINGS if name in secrets} == set()
    loaded = environment.load({**SETTINGS, **dict(SECRETS)})
    assert float(SETTINGS["DRAIN_SECONDS"]) == loaded.DRAIN_SECONDS
    for container in CONTAINERS.values():
        assert [next(iter(source.values()))["name"] for source in container["envFrom"]] == ["rivulet", "rivulet"]
    assert OBJECTS["ConfigMap"]["metadata"]["name"] == "rivulet"


def test_pods_run_the_product() -> None:
    """Job and Deployment run our commands from one image, as the image's user, in its folder for data."""
    image = (ROOT / "deploy/Dockerfile").read_text()
    user, folder = re.search(r"^USER (\d+):(\d+)$", image, re.MULTILINE), re.search(r"VAR_DIR=(\S+)", image)
    assert user
    assert folder
    assert CONTAINERS["Deployment"]["command"] == ["python", "manage.py", "serve"]
    assert CONTAINERS["Job"]["command"] == ["python", "manage.py", "setup"]
    assert CONTAINERS["Deployment"]["image"] == CONTAINERS["Job"]["image"]
    for pod, container in ((POD, CONTAINERS["Deployment"]), (JOB, CONTAINERS["Job"])):
        context = pod["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user[1]), int(user[2]))
        assert folder[1] in {mount["mountPath"] for mount in container["volumeMounts"]}
        names = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == names


@pytest.mark.parametrize("kind", CONTAINERS)
def test_pods_can_do_little(kind: str) -> None:
    """Containers are not root, write nothing but their volumes, have limits and no token of the cluster."""
    container, pod = CONTAINERS[kind], OBJECTS[kind]["spec"]["template"]["spec"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
    assert {"cpu", "memory"} <= container["resources"]["limits"].keys() & container["resources"]["requests"].keys()
    assert OBJECTS["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_probes_ask_what_is_served() -> None:
    """The probes' paths are routes, under a host name that is allowed; the process listens at the named port."""
    container = CONTAINERS["Deployment"]
    routes = {f"/{pattern.pattern}" for pattern in stream_urlpatterns}
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    (port,) = container["ports"]
    assert port["containerPort"] == environment.load({**SETTINGS, **dict(SECRETS)}).PORT
    for probe in probes.values():
        assert probe["path"] in routes
        assert probe["port"] == port["name"]
        assert probe["httpHeaders"][0]["value"] in SETTINGS["ALLOWED_HOSTS"].split(",")


def test_a_pod_gets_the_time_that_it_needs_to_end() -> None:
    """Kubernetes kills a pod only after its drain, and removes it from the service before that."""
    pause = int(CONTAINERS["Deployment"]["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = pause + float(SETTINGS["DRAIN_SECONDS"]) + AFTER_DRAIN_SECONDS + 3 * STOP_SECONDS
    assert POD["spec"]["terminationGracePeriodSeconds"] > drain
    readiness = CONTAINERS["Deployment"]["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] <= pause
    assert OBJECTS["Deployment"]["spec"]["replicas"] >= 2
    assert OBJECTS["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert OBJECTS["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_selectors_find_the_pods() -> None:
    """Service, budget, spread and policy select the pods; the autoscaler and the ingress name what exists."""
    labels = POD["metadata"]["labels"].items()
    assert OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert OBJECTS["Service"]["spec"]["selector"].items() <= labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert POD["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].items() <= labels
    policy = OBJECTS["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels & JOB["metadata"]["labels"].items()
    # The job's pods are not served to users.
    assert not OBJECTS["Service"]["spec"]["selector"].items() <= JOB["metadata"]["labels"].items()
    assert policy["ingress"][0]["ports"] == [{"port": CONTAINERS["Deployment"]["ports"][0]["containerPort"]}]
    target = OBJECTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", OBJECTS["Deployment"]["metadata"]["name"])


def test_the_ingress_passes_streams_on() -> None:
    """The ingress leads to the service, waits longer than streams are silent, and takes the largest body."""
    spec, notes = OBJECTS["Ingress"]["spec"], OBJECTS["Ingress"]["metadata"]["annotations"]
    (rule,) = spec["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == OBJECTS["Service"]["metadata"]["name"]
    assert backend["port"]["name"] in {port["name"] for port in OBJECTS["Service"]["spec"]["ports"]}
    assert rule["host"] in SETTINGS["ALLOWED_HOSTS"].split(",")
    assert SETTINGS["PUBLIC_URL"] == f"https://{rule['host']}"
    loaded = environment.load({**SETTINGS, **dict(SECRETS)})
    for prefix, off in (("nginx.org", "False"), ("nginx.ingress.kubernetes.io", "off")):
        assert notes[f"{prefix}/proxy-buffering"] == off
        assert int(notes[f"{prefix}/proxy-read-timeout"].removesuffix("s")) > loaded.STREAM_PING_SECONDS
    sizes = {notes["nginx.org/client-max-body-size"], notes["nginx.ingress.kubernetes.io/proxy-body-size"]}
    assert min(int(size.removesuffix("m")) for size in sizes) >= loaded.MAX_BODY_MIB
