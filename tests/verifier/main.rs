//! The verifier against known faults of other libraries: every hostile token is refused for its own reason, and the verifier withstands
//! every answer of an issuer.
//!
//! Faults of other libraries, and the tests that cover them here:
//!
//! | elsewhere | here |
//! |---|---|
//! | auth0/jwks-rsa-java#173, junk kids use up a limiter and good tokens are refused | `vf12_a_flood_of_unknown_keys_fetches_once_in_10_s_and_harms_no_good_token` |
//! | coreos/go-oidc#482, junk kids flood the issuer | the same |
//! | coreos/go-oidc#485, a proxy answers with a stale set | `a_thousand_callers_at_a_cold_start_share_one_fetch` (`no-cache`) |
//! | wundergraph/cosmo#2216, a limiter waits | `vf12_..`, whose clock stands still: a caller that may not fetch is refused at once |
//! | MicahParks/jwkset#60, PrefectHQ/fastmcp#4517, authlib/joserfc#104, jwt/ruby-jwt#743, one odd key and no keys at all | `vf14_an_unusable_key_is_skipped_and_the_others_are_used` |
//! | MicahParks/keyfunc#150, a wrong x5t refuses every token | `unused_members_are_ignored_and_a_missing_alg_means_the_usual_algorithm` |
//! | EpicGames/lore#60, a key without alg ends the process | the same, and `a_verifier_reports_its_status` (the key is named) |
//! | auth0/node-jwks-rsa#385, an outage of the issuer is one of every API | `vf13_while_the_issuer_is_down_cached_keys_are_used_for_one_more_hour` |
//! | garden-co/jazz#2205, a removed key is trusted forever | the same: the bound is an hour, as the crate page says |
//! | spring-security#5853, a withdrawn key stays trusted | `a_new_key_is_found_when_the_first_token_comes_and_a_withdrawn_one_is_gone` |
//! | spring-security#17669, #19474, #18195, no time-out, then one that is too short | `vf14_keys_that_arrive_byte_by_byte_or_never_time_out`; `Builder::fetch_timeout` |
//! | camunda#60337, every thread waits for one fetch | `keys_are_refreshed_ahead_of_time_by_a_conditional_request`, `while_a_fetch_hangs_good_tokens_are_accepted_..` |
//! | spring-security#11621, "unchanged?" compared objects | no decision depends on whether a set changed: after a fetch the key is looked up again |
//! | windmill-labs/windmill#10954, no keys taken for an unknown key | `a_key_does_not_count_as_unknown_while_the_issuer_is_unreachable` |
//! | Keats/jsonwebtoken#493, #376, #329, HeliosSoftware/hfs#206, adorsys/status-list-server#329, no aud is accepted | `vf3_issuer_and_audience_are_compared_exactly` |
//! | astrid-runtime/astrid#1933, a key chosen by its kid alone | `vf14_an_unusable_key_is_skipped_..`, `vf1_a_key_checks_its_one_algorithm_and_no_other` |
//! | cmackenzie1/axum-jwt-auth#35, readers see half a key map | a set is swapped whole (`kept::Cached`) |
//! | cduvray/jwt-authorizer#48, the docs are wrong | the crate page's examples are compiled; `a_verifier_with_invalid_settings_is_not_built` |
//! | nearform/fast-jwt#5, #588, a token cache outlives keys and mixes up users | there is no token cache, and the crate page says so |
//! | googleapis/google-cloud-rust#5809, #5864, #4541, a failed early fetch replaces what was good, or ends all fetching | `vf14_an_answer_without_keys_leaves_the_cached_ones_in_use`, `fetching_continues_in_another_runtime_when_the_first_is_gone` |
//! | restatedev/restate#5154, tasks that never end | `fetching_ends_with_the_last_handle` |
//! | ramosbugs/oauth2-rs#253, an HTTP client for each call | one per verifier, made when it is first needed (`clients::Clients`) |
//!
//! Faults in fetching tokens (apache/arrow-rs-object-store#805, golang/oauth2#367 and #623, authlib/authlib#266,
//! openfga/js-sdk#332, conda/rattler#2522, adobe/fetch#447, apify/crawlee#4134) concern the client.

mod accepted;
mod connections;
mod header;
mod hostile_lists;
mod issuers;
mod key_cache;
mod keys;
mod layer;
mod list_outage;
mod observed;
mod outage;
mod payload;
mod refusal_form;
mod revocation;
mod support;
mod token_verify;
