"""Holds Kubernetes manifests, given as files, to the schemas of what they are, strictly: an unknown field is an error.

Kubernetes' own kinds in the oldest and the newest version that is meant, and a ServiceMonitor as the Prometheus operator
declares it. One line for each object; the first that does not fit ends it.
"""

import sys

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator import v1

VERSIONS = ["1.28", "1.37"]


def check(manifest):
    if manifest["kind"] == "ServiceMonitor":
        # What the model does not know it leaves out.
        known = v1.ServiceMonitor.model_validate(manifest)
        known = known.model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert known == manifest, f"{manifest} has more than {known}"
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


for path in sys.argv[1:]:
    with open(path) as file:
        for manifest in yaml.safe_load_all(file):
            try:
                check(manifest)
            except Exception as error:
                sys.exit(f"{path}: {manifest.get('kind')}: {error}")
            print(f"{manifest['kind']} {manifest['metadata']['name']}")
