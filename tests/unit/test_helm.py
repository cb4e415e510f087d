"""The Helm chart: Helm accepts it, Kubernetes' schemas accept what it renders, and that is what was meant."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

import datadistiller
from datadistiller import pipeline
from datadistiller.settings import Settings
from tests.deployment import DEPLOY, output, program
from tools import checkers

CHART = DEPLOY / "helm" / "datadistiller"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
EVERYTHING = (
    "keda.enabled=true",
    "ingress.enabled=true",
    "ingress.tlsSecret=cert",
    "networkPolicy.enabled=true",
    "networkPolicy.apiFrom[0].podSelector.matchLabels.app=proxy",
    "caSecret=ca",
    "imagePullSecrets[0].name=registry",
    "settings.max_upload_bytes=250000000",
    "settings.park_hours=1.5",
)
TOPICS = {spec.role: spec.topic for spec in pipeline.PIPELINE if spec.name in ("ingest", "embed")}
Manifest = dict[str, Any]


@functools.cache
def rendered(*values: str) -> tuple[Manifest, ...]:
    """The chart's manifests with these values set."""
    given = [word for value in values for word in ("--set", value)]
    helm = program(checkers.helm)
    text = output(helm, "template", "dd", CHART, "--kube-version", checkers.KUBERNETES[1], *given)
    return tuple(manifest for manifest in yaml.safe_load_all(text) if manifest)


def of_kind(kind: str, *values: str) -> dict[str, Manifest]:
    """Those of a kind, by the role they are for ('' if for none)."""
    found = [manifest for manifest in rendered(*values) if manifest["kind"] == kind]
    return {m["metadata"]["labels"].get("app.kubernetes.io/component", ""): m for m in found}


def pod_of(manifest: Manifest) -> Manifest:
    return dict(manifest["spec"]["template"]["spec"])


def refused(*values: str) -> str:
    """What Helm says against the values."""
    helm, given = program(checkers.helm), [word for value in values for word in ("--set", value)]
    argv = [helm, "template", "dd", CHART, "--kube-version", checkers.KUBERNETES[1], *given]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


def test_helm_finds_nothing_to_say() -> None:
    assert "0 chart(s) failed" in output(program(checkers.helm), "lint", "--strict", CHART)


@pytest.mark.parametrize("values", [(), EVERYTHING], ids=["defaults", "everything"])
@pytest.mark.parametrize("version", checkers.KUBERNETES)
def test_kubernetes_accepts_what_it_renders(version: str, values: tuple[str, ...]) -> None:
    folder = program(lambda: checkers.kubernetes(version))
    definitions = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))
    registry = jsonschema_rs.Registry([("urn:kubernetes/_definitions.json", definitions)])
    seen = set()
    for manifest in rendered(*values):
        group, _, api = manifest["apiVersion"].rpartition("/")
        if group == "keda.sh":
            continue
        seen.add(manifest["kind"])
        file = folder / "-".join(filter(None, (manifest["kind"].lower(), group.split(".")[0], f"{api}.json")))
        schema = json.loads(file.read_text(encoding="utf-8")) | {"$schema": "http://json-schema.org/draft-07/schema#"}
        validator = jsonschema_rs.validator_for(schema, registry=registry, base_uri=f"urn:kubernetes/{file.name}")
        assert not [error.message for error in validator.iter_errors(manifest)], manifest["metadata"]["name"]
    extra = {"Ingress", "NetworkPolicy"} if values else set()
    assert seen == {"ConfigMap", "Deployment", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount"} | extra


def test_every_role_has_its_processes() -> None:
    deployments = of_kind("Deployment")
    assert set(deployments) == set(pipeline.ROLES)
    for role, deployment in deployments.items():
        (container,) = pod_of(deployment)["containers"]
        assert container["args"] == ["serve", "--roles", role]
        assert container["image"] == f"datadistiller:{datadistiller.__version__}"
        assert {"name": "WORKER_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in container["env"]
        assert deployment["spec"]["replicas"] == VALUES["roles"][role]["replicas"]
    assert "relay" not in of_kind("Deployment", "roles.relay=null")


@pytest.mark.parametrize("role", VALUES["roles"])
def test_a_pod_is_confined_probed_and_ends_in_peace(role: str) -> None:
    deployment = of_kind("Deployment")[role]
    pod = pod_of(deployment)
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    assert {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")} == {"/tmp", "/data"}
    assert pod["automountServiceAccountToken"] is False
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert [probe["path"] for probe in probes.values()] == ["/livez", "/livez", "/readyz"]
    (port,) = container["ports"]
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert port["containerPort"] == (8000 if role == "api" else 8001)
    assert pod["terminationGracePeriodSeconds"] > VALUES["drainSeconds"]
    resources = container["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]
    assert "cpu" not in resources["limits"]  # a limit would only make a busy worker wait
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for constraint in pod["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()


def test_metrics_are_looked_for_where_no_key_is_needed() -> None:
    def scraped(*values: str) -> set[str]:
        pods = {role: manifest["spec"]["template"] for role, manifest in of_kind("Deployment", *values).items()}
        return {role for role, pod in pods.items() if "prometheus.io/scrape" in pod["metadata"]["annotations"]}

    assert scraped() == set(VALUES["roles"]) - {"api"}
    assert scraped("settings.metrics_public=true") == set(VALUES["roles"])


def test_settings_and_secrets_reach_the_roles_that_need_them() -> None:
    (config,) = of_kind("ConfigMap", *EVERYTHING).values()
    known = {f"DATADISTILLER_{name.upper()}" for name in Settings.model_fields}
    assert not config["data"].keys() - known
    assert config["data"]["DATADISTILLER_MAX_UPLOAD_BYTES"] == "250000000"
    assert config["data"]["DATADISTILLER_PARK_HOURS"] == "1.5"
    assert config["data"]["DATADISTILLER_DRAIN_SECONDS"] == str(VALUES["drainSeconds"])
    assert not of_kind("Secret")
    for role, deployment in of_kind("Deployment").items():
        pod = pod_of(deployment)
        keys = VALUES["secret"]["keys"] + (VALUES["secret"]["apiKeys"] if role == "api" else [])
        (secret,) = (volume["secret"] for volume in pod["volumes"] if "secret" in volume)
        assert secret["items"] == [{"key": key, "path": key} for key in keys]
        files = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"] if "value" in entry}
        assert files == {f"DATADISTILLER_{key.upper()}_FILE": f"/etc/datadistiller/secret/{key}" for key in keys}
        assert {name.removesuffix("_FILE") for name in files} <= known


def test_each_role_may_lose_one_pod_at_a_time() -> None:
    budgets = of_kind("PodDisruptionBudget")
    for role, deployment in of_kind("Deployment").items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert budgets[role]["spec"]["maxUnavailable"] == 1
        assert budgets[role]["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_service_and_the_check_reach_the_api_and_nothing_else() -> None:
    service = of_kind("Service")["api"]
    reached = [
        role
        for role, deployment in of_kind("Deployment").items()
        if service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert reached == ["api"]
    check = of_kind("Pod")["verify"]
    assert check["metadata"]["annotations"]["helm.sh/hook"] == "test"
    address = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert check["spec"]["containers"][0]["args"] == ["verify", "--url", address]


def test_keda_scales_by_the_backlog_in_postgresql() -> None:
    scaled, deployments = of_kind("ScaledObject", *EVERYTHING), of_kind("Deployment", *EVERYTHING)
    (authentication,) = of_kind("TriggerAuthentication", *EVERYTHING).values()
    assert authentication["spec"]["secretTargetRef"][0] == {
        "parameter": "connection", "name": VALUES["secret"]["name"], "key": "database_url"
    }  # fmt: skip
    assert set(scaled) == set(TOPICS)
    for role, manifest in scaled.items():
        spec, given = manifest["spec"], VALUES["roles"][role]["scale"]
        assert manifest["apiVersion"] == "keda.sh/v1alpha1"
        assert spec["scaleTargetRef"]["name"] == deployments[role]["metadata"]["name"]
        assert "replicas" not in deployments[role]["spec"]  # an upgrade would undo what was scaled
        assert 0 < spec["minReplicaCount"] <= spec["maxReplicaCount"] == given["max"]
        (trigger,) = spec["triggers"]
        assert (trigger["type"], trigger["metricType"]) == (
            "postgresql",
            "AverageValue",
        )  # the fallback needs the latter
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
        metadata = trigger["metadata"]
        assert set(metadata) == {"query", "targetQueryValue"}
        assert all(isinstance(value, str) for value in metadata.values())  # KEDA takes text only
        assert f"topic = '{TOPICS[role]}'" in metadata["query"]
        assert f"LIMIT {given['max'] * given['messagesPerWorker']})" in metadata["query"]


def test_the_network_policy_covers_the_pods_and_lets_the_check_in() -> None:
    (policy,) = of_kind("NetworkPolicy", *EVERYTHING).values()
    (roles,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert set(roles["values"]) == set(VALUES["roles"])
    api, metrics = policy["spec"]["ingress"]
    assert [source["podSelector"]["matchLabels"].get("app.kubernetes.io/component") for source in api["from"]] == [
        None, "verify"
    ]  # fmt: skip
    assert "from" not in metrics
    assert not of_kind("NetworkPolicy")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("roles.cook.replicas=1", "cook"),
        ("roles.embed.replica=1", "replica"),
        ("settings.opensearch_password=x", "opensearch_password"),
        ("settings.database_url=x", "database_url"),
        ("settings.Port=1", "Port"),
        ("drainSeconds=0", "drainSeconds"),
        ("secret.keys={s3_access_key}", "keys"),
        ("kedaa.enabled=true", "kedaa"),
    ],
)
def test_wrong_values_are_refused_by_name(value: str, named: str) -> None:
    assert named in refused(value)


def test_the_chart_is_of_this_version_and_says_what_it_is_for() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == datadistiller.__version__
    assert chart["kubeVersion"] == f">={checkers.KUBERNETES[0]}-0"
    schema = json.loads(Path(CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert set(VALUES) <= set(schema["properties"])
    assert set(schema["properties"]["roles"]["properties"]) == set(VALUES["roles"])
