"""Who we are: health, organization, users, keys with their permissions and expiry, and the registries."""

import datetime

import mixpeek

from connection import Typed
from recorder import contains, equal, holds, rows

MEMBER = "member@example.org"


def health(s):
    """Health is answered without a key, its parts only with one."""
    open_ = Typed(s.recorder, s.host)
    open_("HealthApi.healthcheck_health", gives=object)
    open_("HealthApi.liveness_health", gives=object, optional=True)
    open_.refused(401, "UnauthorizedError", "HealthApi.healthcheck_deep_health")
    deep = s.typed("HealthApi.healthcheck_deep_health", gives=mixpeek.HealthCheckResponse)
    equal(deep.status.value, "OK", "deep health")
    holds(all(deep.data.to_dict().values()), f"every part is well, got {deep.data.to_dict()}")


def who_am_i(s):
    """The key says who it is."""
    me = s.typed("AccountApi.whoami_me", gives=mixpeek.MeResponse)
    equal(me.organization_id, s.organization_id, "organization_id")
    equal(me.user_email, s.user_email, "user_email")
    contains(me.key.permissions, "admin", "permissions of the first key")
    equal(me.principal_scoped, False, "principal_scoped")


def organization(s):
    """The organization is read and changed."""
    first = s.typed("OrganizationsApi.get_organization", gives=mixpeek.OrganizationModelResponse)
    equal(first.organization_id, s.organization_id, "organization_id")
    holds(first.rate_limits.search >= 1, "rate_limits.search is at least 1")
    changed = s.typed(
        "OrganizationsApi.update_organization",
        mixpeek.OrganizationUpdateRequest(billing_email="bills@example.org", metadata={"region": "north"}),
        gives=mixpeek.OrganizationModelResponse,
    )
    equal(changed.billing_email, "bills@example.org", "billing_email")
    again = s.typed("OrganizationsApi.get_organization", gives=mixpeek.OrganizationModelResponse)
    equal(again.metadata, {"region": "north"}, "metadata on the next read")
    equal(again.organization_name, first.organization_name, "a name that was not in the change")
    holds(again.updated_at >= first.updated_at, "updated_at moves forward")


def users(s):
    """A user is created, listed, read and changed."""
    made = s.typed(
        "OrganizationUsersApi.create_user_organizations",
        mixpeek.UserCreateRequest(email=MEMBER, user_name="A Member", role="member"),
        gives=dict,
    )
    s.member = MEMBER
    equal(made["email"], MEMBER, "email")
    equal(made["role"], "member", "role")
    listed = rows(s.typed("OrganizationUsersApi.list_users_organizations", limit=100, gives=dict))
    equal(sorted(u["email"] for u in listed), sorted([MEMBER, s.user_email]), "the users of the organization")
    one = s.typed("OrganizationUsersApi.get_user_organizations_email", MEMBER, gives=dict)
    equal(one["user_name"], "A Member", "user_name")
    changed = s.typed(
        "OrganizationUsersApi.update_user_organizations_email",
        MEMBER,
        mixpeek.UserUpdateRequest(user_name="Another Name"),
        gives=dict,
    )
    equal(changed["user_name"], "Another Name", "user_name after the change")


def keys(s):
    """A key is created, shown once, listed, changed and rotated."""
    made = s.typed(
        "OrganizationAPIKeysApi.create_key_organizations_users_email",
        s.member,
        mixpeek.APIKeyCreateRequest(name="reader", description="reads", permissions=["read"]),
        gives=mixpeek.APIKeyCreateResponse,
    )
    s.reader_key = made.key
    holds(made.key.startswith("sk_live_"), f"a new key starts with sk_live_, got {made.key[:8]}")
    equal([p.value for p in made.permissions], ["read"], "permissions")
    holds(made.key.startswith(made.key_prefix), "key_prefix is the beginning of the key")
    holds(made.key not in (made.key_hash, made.key_prefix), "the key itself is in no other member")
    listed = s.typed("OrganizationAPIKeysApi.list_keys_organizations_users_email", s.member, gives=dict)
    holds(made.key not in str(listed), "the list never shows a key")
    equal([k["name"] for k in rows(listed)], ["reader"], "names in the list")
    changed = s.typed(
        "OrganizationAPIKeysApi.update_key_organizations_users_email_name",
        s.member,
        "reader",
        mixpeek.APIKeyUpdateRequest(description="only reads"),
        gives=mixpeek.APIKeyModel,
    )
    equal(changed.description, "only reads", "description")
    rotated = s.typed(
        "OrganizationAPIKeysApi.rotate_key_organizations_users_email_name",
        s.member,
        "reader",
        gives=mixpeek.APIKeyCreateResponse,
    )
    s.reader_key = rotated.key
    holds(rotated.key != made.key, "rotation gives another key")
    me = Typed(s.recorder, s.host, rotated.key)("AccountApi.whoami_me", gives=mixpeek.MeResponse)
    equal(me.user_email, s.member, "whose key it is")
    equal(me.key.permissions, ["read"], "permissions survive the rotation")


def permissions(s):
    """A key without the permission is refused, an expired one is unknown."""
    reader = Typed(s.recorder, s.host, s.reader_key)
    reader("NamespacesApi.list_namespaces_get", gives=mixpeek.ListNamespacesResponse)
    reader.refused(
        403,
        "ForbiddenError",
        "NamespacesApi.create_namespace",
        mixpeek.CreateNamespaceRequest(namespace_name="not-allowed"),
    )
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    made = s.typed(
        "OrganizationAPIKeysApi.create_key_organizations_users_email",
        s.member,
        mixpeek.APIKeyCreateRequest(name="short-lived", expires_at=soon),
        gives=mixpeek.APIKeyCreateResponse,
    )
    s.expiring_key = made.key
    s.expires_at = soon


def extractors(s):
    """The registry of feature extractors."""
    s.typed("FeaturesApi.discover_features", gives=mixpeek.FeatureDiscoveryResponse)
    listed = s.typed("FeatureExtractorsApi.list_feature_extractors", gives=[mixpeek.FeatureExtractorResponseModel])
    ids = [e.feature_extractor_id for e in listed]
    for wanted in ("text_extractor_v1", "passthrough_extractor_v1"):
        contains(ids, wanted, "extractors")
    text = s.typed(
        "FeatureExtractorsApi.get_feature_extractor_by", "text_extractor_v1", gives=mixpeek.FeatureExtractorResponseModel
    )
    equal((text.feature_extractor_name, text.version), ("text_extractor", "v1"), "name and version")
    contains(text.supported_input_types, "text", "input types of the text extractor")
    unified = s.typed("ExtractorsApi.list_org_extractors", gives=mixpeek.UnifiedExtractorListResponse)
    equal(unified.total, len(unified.extractors), "total")


def stages(s):
    """The registry of retriever stages."""
    listed = s.typed("RetrieverStagesApi.list_stages_retrievers", gives=[mixpeek.RetrieverStageDefinition])
    categories = {d.stage_id: d.category.value for d in listed}
    for stage, category in {
        "feature_search": "filter",
        "attribute_filter": "filter",
        "sort_relevance": "sort",
        "sort_attribute": "sort",
        "limit": "reduce",
    }.items():
        equal(categories.get(stage), category, f"category of {stage}")


STEPS = [health, who_am_i, organization, users, keys, permissions, extractors, stages]
