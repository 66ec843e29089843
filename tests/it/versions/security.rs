//! Access control and delegation tokens, of which there are none yet: what those are told that ask.

use ringlog_wire::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use ringlog_wire::messages::create_acls_response::CreateAclsResponse;
use ringlog_wire::messages::create_delegation_token_request::CreateDelegationTokenRequest;
use ringlog_wire::messages::create_delegation_token_response::CreateDelegationTokenResponse;
use ringlog_wire::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use ringlog_wire::messages::delete_acls_response::DeleteAclsResponse;
use ringlog_wire::messages::describe_acls_request::DescribeAclsRequest;
use ringlog_wire::messages::describe_acls_response::DescribeAclsResponse;
use ringlog_wire::messages::describe_delegation_token_request::DescribeDelegationTokenRequest;
use ringlog_wire::messages::describe_delegation_token_response::DescribeDelegationTokenResponse;
use ringlog_wire::messages::expire_delegation_token_request::ExpireDelegationTokenRequest;
use ringlog_wire::messages::expire_delegation_token_response::ExpireDelegationTokenResponse;
use ringlog_wire::messages::renew_delegation_token_request::RenewDelegationTokenRequest;
use ringlog_wire::messages::renew_delegation_token_response::RenewDelegationTokenResponse;

use super::World;

/// SECURITY_DISABLED.
const DISABLED: i16 = 54;
/// DELEGATION_TOKEN_AUTH_DISABLED.
const NO_TOKENS: i16 = 61;
const ANY: i8 = 1;
const OF_TOPICS: i8 = 2;
const LITERAL: i8 = 3;
const OPERATION_READ: i8 = 3;
const ALLOW: i8 = 3;

pub(super) fn describe_acls(world: &mut World, version: i16) {
    let request = DescribeAclsRequest {
        resource_type_filter: ANY,
        pattern_type_filter: LITERAL,
        operation: ANY,
        permission_type: ANY,
        ..Default::default()
    };
    let answer = world.wire.ask(version, &request);
    let body: DescribeAclsResponse = answer.decode();
    let words = "No Authorizer is configured on the broker";
    assert_eq!((body.error_code, body.error_message.as_deref()), (DISABLED, Some(words)));
    assert_eq!(body.resources, []);
}

pub(super) fn create_acls(world: &mut World, version: i16) {
    let creation = AclCreation {
        resource_type: OF_TOPICS,
        resource_name: "t".into(),
        resource_pattern_type: LITERAL,
        principal: "User:a".into(),
        host: "*".into(),
        operation: OPERATION_READ,
        permission_type: ALLOW,
    };
    let request = CreateAclsRequest { creations: vec![creation.clone(), creation] };
    let answer = world.wire.ask(version, &request);
    let body: CreateAclsResponse = answer.decode();
    assert_eq!(body.results.len(), 2);
    for result in body.results {
        let words = Some("No Authorizer is configured.");
        assert_eq!((result.error_code, result.error_message.as_deref()), (DISABLED, words));
    }
}

pub(super) fn delete_acls(world: &mut World, version: i16) {
    let filter = DeleteAclsFilter {
        resource_type_filter: ANY,
        pattern_type_filter: LITERAL,
        operation: ANY,
        permission_type: ANY,
        ..Default::default()
    };
    let answer = world.wire.ask(version, &DeleteAclsRequest { filters: vec![filter] });
    let body: DeleteAclsResponse = answer.decode();
    let [result] = &body.filter_results[..] else { panic!("one filter was sent") };
    let words = Some("No Authorizer is configured.");
    assert_eq!((result.error_code, result.error_message.as_deref()), (DISABLED, words));
    assert_eq!(result.matching_acls, []);
}

pub(super) fn create_delegation_token(world: &mut World, version: i16) {
    let request = CreateDelegationTokenRequest { max_lifetime_ms: -1, ..Default::default() };
    let answer = world.wire.ask(version, &request);
    let body: CreateDelegationTokenResponse = answer.decode();
    assert_eq!((body.error_code, body.expiry_timestamp_ms), (NO_TOKENS, -1));
    assert!(body.hmac.is_empty());
}

pub(super) fn renew_delegation_token(world: &mut World, version: i16) {
    let request = RenewDelegationTokenRequest { hmac: (&b"x"[..]).into(), renew_period_ms: 1 };
    let body: RenewDelegationTokenResponse = world.wire.ask(version, &request).decode();
    assert_eq!((body.error_code, body.expiry_timestamp_ms), (NO_TOKENS, -1));
}

pub(super) fn expire_delegation_token(world: &mut World, version: i16) {
    let request =
        ExpireDelegationTokenRequest { hmac: (&b"x"[..]).into(), expiry_time_period_ms: 1 };
    let body: ExpireDelegationTokenResponse = world.wire.ask(version, &request).decode();
    assert_eq!((body.error_code, body.expiry_timestamp_ms), (NO_TOKENS, -1));
}

pub(super) fn describe_delegation_token(world: &mut World, version: i16) {
    let answer = world.wire.ask(version, &DescribeDelegationTokenRequest { owners: None });
    let body: DescribeDelegationTokenResponse = answer.decode();
    assert_eq!((body.error_code, body.tokens.len()), (NO_TOKENS, 0));
}
