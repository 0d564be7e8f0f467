"""The two layers of the official client, used as they are; calls are counted and their results checked."""

import json

import mixpeek
from mixpeek._client.client import MixpeekAPIError
from mixpeek.exceptions import ApiException, ServiceException

from recorder import Mismatch, equal, holds


class Typed:
    """The generated layer: one class per tag, one method per operation."""

    def __init__(self, recorder, host, key=None, namespace=None):
        self.recorder = recorder
        configuration = mixpeek.Configuration(host=host, access_token=key)
        if namespace:
            configuration.api_key = {"NamespaceHeader": namespace}
        self.client = mixpeek.ApiClient(configuration)

    def __call__(self, operation, *args, gives=None, status=200, optional=False, **kwargs):
        """Calls "BucketsApi.create_bucket" and gives its parsed answer.

        gives: the class of the answer, [class] for a list of them, dict or list for an untyped one, None for
        an empty one. optional: the operation may answer 501 for now; the result is then None.
        """
        owner, method = operation.split(".")
        call = getattr(getattr(mixpeek, owner)(self.client), method + "_with_http_info")
        try:
            answer = call(*args, **kwargs)
        except ServiceException as e:
            if optional and e.status == 501:
                self.recorder.decline(operation, declined(e.body))
                return None
            raise
        equal(answer.status_code, status, f"{operation}: status")
        check_kind(operation, answer.data, gives)
        self.recorder.drove(operation)
        return answer.data

    def refused(self, status, error_type, operation, *args, declared=True, **kwargs):
        """Calls an operation that must be refused, and gives the parsed error."""
        owner, method = operation.split(".")
        try:
            answer = getattr(getattr(mixpeek, owner)(self.client), method)(*args, **kwargs)
        except ApiException as e:
            equal(e.status, status, f"{operation}: status of the refusal ({e.body})")
            kinds = {
                400: "BadRequestException",
                401: "UnauthorizedException",
                403: "ForbiddenException",
                404: "NotFoundException",
                409: "ConflictException",
                422: "UnprocessableEntityException",
            }
            equal(type(e).__name__, kinds.get(status, "ServiceException"), f"{operation}: class of the refusal")
            body = json.loads(e.body)
            equal(body.get("success"), False, f"{operation}: success")
            equal(body.get("status"), status, f"{operation}: status in the body")
            if error_type:
                equal(body["error"]["type"], error_type, f"{operation}: error.type")
            holds(len(body["error"]["message"]) > 10, f"{operation}: the message says too little: {body['error']}")
            holds(body.get("request_id"), f"{operation}: no request_id in {body}")
            if declared:
                holds(isinstance(e.data, mixpeek.ErrorResponse), f"{operation}: the client could not read the error body {e.body}")
            self.recorder.drove(operation)
            return body
        raise Mismatch(f"{operation}: expected a refusal with {status}, got {str(answer)[:400]}")


class Wrapped:
    """The hand-written layer, mixpeek.Mixpeek."""

    def __init__(self, recorder, host, key, namespace=None):
        self.recorder = recorder
        self.client = mixpeek.Mixpeek(api_key=key, base_url=host + "/v1", namespace=namespace)

    def __call__(self, operation, *args, optional=False, empty=False, **kwargs):
        """Calls "buckets.create" or "search" of the wrapper and gives its answer."""
        call = self.client
        for part in operation.split("."):
            call = getattr(call, part)
        name = "Mixpeek." + operation
        try:
            answer = call(*args, **kwargs)
        except MixpeekAPIError as e:
            if optional and e.status == 501:
                self.recorder.decline(name, declined(json.dumps(e.detail)))
                return None
            raise
        if not empty:
            holds(answer is not None, f"{name}: an empty answer")
        self.recorder.drove(name)
        return answer

    def raw(self, method, path, body=None):
        """A path that the client has no method for, sent the way it sends all of them."""
        answer = self.client._request(method, path, body=body)
        self.recorder.drove(f"{method} {path.split('?')[0].rsplit('/', 1)[-1]} (seed)")
        return answer


def check_kind(operation, data, gives):
    """Holds that the client gave what its declaration says, and no None from a status that it does not list."""
    if gives is None:
        equal(data, None, f"{operation}: body")
        return
    if data is None:
        raise Mismatch(f"{operation}: the client gave None: the status is not the declared one, or the body is null")
    if isinstance(gives, list):
        holds(isinstance(data, list), f"{operation}: got {type(data).__name__}, want a list")
        for one in data:
            holds(isinstance(one, gives[0]), f"{operation}: got a list with {type(one).__name__}, want {gives[0].__name__}")
        return
    holds(isinstance(data, gives), f"{operation}: got {type(data).__name__}, want {gives.__name__}")


def declined(body):
    """The message of a 501, which must be a whole error and name the operation."""
    error = json.loads(body)
    equal(error.get("status"), 501, "status in the body of a 501")
    message = error["error"]["message"]
    holds("/v1/" in message, f"a 501 must name its operation, got {message!r}")
    return message
