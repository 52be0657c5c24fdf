"""Where botocore, as it comes with the AWS CLI, finds each service: one line for each service, region and setting."""
import json
import pathlib

from awscli.botocore import endpoint_provider

SERVICES = ["ssm", "kms", "sts", "ecs", "ec2", "ec2-instance-connect", "sso", "sso-oidc"]
DATA = pathlib.Path(endpoint_provider.__file__).parent / "data"


def read(name):
    return json.loads((DATA / name).read_text())


partitions = read("partitions.json")
regions = {region for partition in partitions["partitions"] for region in partition["regions"]}
regions |= {region for partition in read("endpoints.json")["partitions"] for region in partition["regions"]}
# Regions that only the patterns know, and one that none does.
regions |= {"eu-west-9", "cn-east-1", "us-gov-north-3", "us-isob-south-12", "eusc-de-west-1", "us-iso-x", "xx-new-1"}
for service in SERVICES:
    version = max(path.name for path in (DATA / service).iterdir() if path.is_dir())
    rules = endpoint_provider.EndpointProvider(read(f"{service}/{version}/endpoint-rule-set-1.json"), partitions)
    for region in sorted(regions):
        for fips in (False, True):
            for dual_stack in (False, True):
                more = {"UseGlobalEndpoint": False} if service == "sts" else {}
                url = rules.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack, **more).url
                print(service, region, int(fips), int(dual_stack), url.removeprefix("https://"))
for partition in partitions["partitions"]:
    print("suffix", partition["outputs"]["dnsSuffix"])
    print("suffix", partition["outputs"]["dualStackDnsSuffix"])
