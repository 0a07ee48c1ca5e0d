"""Checks that schemathesis lacks. As a program: compares the two lists of errors in the description."""

import re
import sys
from pathlib import Path

import yaml

DOCUMENT = Path(__file__).parents[2] / "openapi.yaml"
# Headers that HTTP itself adds to any answer (RFC 9110, RFC 9112).
OF_HTTP = {"content-type", "content-length", "date", "connection", "allow"}


def catalogue():
    errors = yaml.safe_load(DOCUMENT.read_text())["x-errors"]
    return {(error["code"], text): error["status"] for error in errors for text in error["descriptions"]}


CATALOGUE = catalogue()


def register():
    import schemathesis

    @schemathesis.check
    def no_undocumented_header(_, response, case):
        documented = case.operation.responses.find_by_status_code(response.status_code)
        if documented is None or response.request.method.lower() != case.operation.method.lower():
            return
        names = {name.lower() for name, _ in documented.headers.items()} | OF_HTTP
        assert set(response.headers) <= names, f"undocumented headers: {sorted(set(response.headers) - names)}"

    @schemathesis.check
    def every_error_is_in_the_catalogue(_, response, case):
        # People read the answer of the authorization endpoint: it is a page.
        if "application/json" not in response.headers.get("content-type", [""])[0]:
            return
        if response.status_code < 400 or not response.content or "error" not in response.json():
            return
        body, request_id = response.json(), response.headers["x-request-id"][0]
        said = body["error_description"].replace(f"by its id, {request_id}.", "by its id, {request_id}.")
        said = re.sub(r" the scope token \S+?(?=( at this resource)?\.$)", " the scope token {scope_token}", said)
        assert response.status_code in CATALOGUE.get((body["error"], said), []), f"not in x-errors: {response.status_code} {body}"

    @schemathesis.check
    def nothing_is_given_without_credentials(_, response, case):
        sent = response.request
        # The status lists are public.
        if case.operation.method.lower() != "post" or "Authorization" in sent.headers:
            return
        assert response.status_code >= 400 or "client_secret=" in str(sent.body), "answered without credentials"


def main():
    described = yaml.safe_load(DOCUMENT.read_text())["info"]["description"]
    listed, code = {}, None
    for line in described.splitlines():
        if found := re.fullmatch(r"- `(\w+)`", line):
            code = found[1]
        elif found := re.fullmatch(r"  - (\d{3}): `(.+)`", line):
            listed.setdefault((code, found[2]), []).append(int(found[1]))
    assert listed.keys() == CATALOGUE.keys(), f"in one list alone: {listed.keys() ^ CATALOGUE.keys()}"
    for error in yaml.safe_load(DOCUMENT.read_text())["x-errors"]:
        statuses = {status for (code, _), found in listed.items() if code == error["code"] for status in found}
        assert statuses == set(error["status"]), f"{error['code']}: {statuses} and {error['status']}"
        row = f"| `{error['code']}` | {', '.join(map(str, error['status']))} | {error['meaning']} | {error['what_to_do']} |"
        assert row in described, f"the table does not have: {row}"
    print(f"{len(CATALOGUE)} texts of {len({code for code, _ in CATALOGUE})} errors")


if __name__ == "__main__":
    sys.exit(main())
register()
