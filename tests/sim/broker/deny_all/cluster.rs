//! Settings, the cluster, and access control itself.

use ringlog_wire::ApiKey;
use ringlog_wire::messages::alter_client_quotas_request::{self, AlterClientQuotasRequest};
use ringlog_wire::messages::alter_client_quotas_response::AlterClientQuotasResponse;
use ringlog_wire::messages::api_versions_request::ApiVersionsRequest;
use ringlog_wire::messages::api_versions_response::ApiVersionsResponse;
use ringlog_wire::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use ringlog_wire::messages::create_acls_response::CreateAclsResponse;
use ringlog_wire::messages::create_delegation_token_request::CreateDelegationTokenRequest;
use ringlog_wire::messages::create_delegation_token_response::CreateDelegationTokenResponse;
use ringlog_wire::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use ringlog_wire::messages::delete_acls_response::DeleteAclsResponse;
use ringlog_wire::messages::describe_acls_request::DescribeAclsRequest;
use ringlog_wire::messages::describe_acls_response::DescribeAclsResponse;
use ringlog_wire::messages::describe_client_quotas_request::DescribeClientQuotasRequest;
use ringlog_wire::messages::describe_client_quotas_response::DescribeClientQuotasResponse;
use ringlog_wire::messages::describe_cluster_request::DescribeClusterRequest;
use ringlog_wire::messages::describe_cluster_response::DescribeClusterResponse;
use ringlog_wire::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ringlog_wire::messages::describe_configs_response::DescribeConfigsResponse;
use ringlog_wire::messages::describe_delegation_token_request::DescribeDelegationTokenRequest;
use ringlog_wire::messages::describe_delegation_token_response::DescribeDelegationTokenResponse;
use ringlog_wire::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use ringlog_wire::messages::describe_log_dirs_response::DescribeLogDirsResponse;
use ringlog_wire::messages::describe_quorum_request::DescribeQuorumRequest;
use ringlog_wire::messages::describe_quorum_response::DescribeQuorumResponse;
use ringlog_wire::messages::expire_delegation_token_request::ExpireDelegationTokenRequest;
use ringlog_wire::messages::expire_delegation_token_response::ExpireDelegationTokenResponse;
use ringlog_wire::messages::list_config_resources_request::ListConfigResourcesRequest;
use ringlog_wire::messages::list_config_resources_response::ListConfigResourcesResponse;
use ringlog_wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use ringlog_wire::messages::list_partition_reassignments_response as reassignments;
use ringlog_wire::messages::renew_delegation_token_request::RenewDelegationTokenRequest;
use ringlog_wire::messages::renew_delegation_token_response::RenewDelegationTokenResponse;
use ringlog_wire::messages::{alter_configs_request, alter_configs_response};
use ringlog_wire::messages::{
    incremental_alter_configs_request, incremental_alter_configs_response,
};

use super::{Asker, TOPIC, codes, listed};

/// Types of resources with settings, and one of each.
const RESOURCES: &[(i8, &str, &str)] = &[
    (2, TOPIC, "topic"),
    (4, "1", "broker"),
    (8, "1", "logger"),
    (16, "m", "metrics"),
    (32, "g", "group"),
];

/// The older call knows no loggers.
const BROKER_LOGGER: i8 = 8;

fn of_resources(errors: Vec<(i8, i16)>) -> String {
    let what = |kind| RESOURCES.iter().find(|(code, ..)| *code == kind).expect("asked for").2;
    let mut errors = errors;
    errors.sort_unstable();
    listed(errors.into_iter().map(|(kind, error)| format!("{} {error}", what(kind))), ", ")
}

/// What is told by the APIs of no other area.
pub(super) async fn told(asker: &mut Asker, api: ApiKey) -> String {
    match api {
        ApiKey::DescribeConfigs => describe_configs(asker).await,
        ApiKey::AlterConfigs => alter_configs(asker).await,
        ApiKey::IncrementalAlterConfigs => incremental_alter_configs(asker).await,
        ApiKey::ApiVersions => {
            let answer = asker.ask(0, &ApiVersionsRequest::default()).await;
            codes([answer.decode::<ApiVersionsResponse<'_>>().error_code])
        }
        ApiKey::DescribeLogDirs => {
            let answer = asker.ask(4, &DescribeLogDirsRequest { topics: None }).await;
            codes([answer.decode::<DescribeLogDirsResponse<'_>>().error_code])
        }
        ApiKey::DescribeCluster => {
            let request = DescribeClusterRequest {
                include_cluster_authorized_operations: true,
                ..Default::default()
            };
            let answer = asker.ask(0, &request).await;
            let body: DescribeClusterResponse = answer.decode();
            format!("{}, may do {}", body.error_code, body.cluster_authorized_operations)
        }
        ApiKey::ListConfigResources => {
            let answer = asker.ask(1, &ListConfigResourcesRequest::default()).await;
            codes([answer.decode::<ListConfigResourcesResponse<'_>>().error_code])
        }
        ApiKey::AlterClientQuotas => {
            let entries = vec![alter_client_quotas_request::EntryData::default()];
            let request = AlterClientQuotasRequest { entries, validate_only: false };
            let answer = asker.ask(1, &request).await;
            codes([answer.decode::<AlterClientQuotasResponse<'_>>().entries[0].error_code])
        }
        ApiKey::DescribeClientQuotas => {
            let answer = asker.ask(1, &DescribeClientQuotasRequest::default()).await;
            codes([answer.decode::<DescribeClientQuotasResponse<'_>>().error_code])
        }
        ApiKey::ListPartitionReassignments => {
            let answer = asker.ask(0, &ListPartitionReassignmentsRequest::default()).await;
            codes([answer
                .decode::<reassignments::ListPartitionReassignmentsResponse<'_>>()
                .error_code])
        }
        ApiKey::DescribeQuorum => {
            let answer = asker.ask(0, &DescribeQuorumRequest::default()).await;
            codes([answer.decode::<DescribeQuorumResponse<'_>>().error_code])
        }
        other => of_security(asker, other).await,
    }
}

async fn of_security(asker: &mut Asker, api: ApiKey) -> String {
    let error = match api {
        ApiKey::DescribeAcls => {
            let answer = asker.ask(3, &DescribeAclsRequest::default()).await;
            answer.decode::<DescribeAclsResponse<'_>>().error_code
        }
        ApiKey::CreateAcls => {
            let creations = vec![AclCreation::default()];
            let answer = asker.ask(3, &CreateAclsRequest { creations }).await;
            answer.decode::<CreateAclsResponse<'_>>().results[0].error_code
        }
        ApiKey::DeleteAcls => {
            let filters = vec![DeleteAclsFilter::default()];
            let answer = asker.ask(3, &DeleteAclsRequest { filters }).await;
            answer.decode::<DeleteAclsResponse<'_>>().filter_results[0].error_code
        }
        ApiKey::CreateDelegationToken => {
            let answer = asker.ask(3, &CreateDelegationTokenRequest::default()).await;
            answer.decode::<CreateDelegationTokenResponse<'_>>().error_code
        }
        ApiKey::RenewDelegationToken => {
            let answer = asker.ask(2, &RenewDelegationTokenRequest::default()).await;
            answer.decode::<RenewDelegationTokenResponse>().error_code
        }
        ApiKey::ExpireDelegationToken => {
            let answer = asker.ask(2, &ExpireDelegationTokenRequest::default()).await;
            answer.decode::<ExpireDelegationTokenResponse>().error_code
        }
        ApiKey::DescribeDelegationToken => {
            let answer = asker.ask(3, &DescribeDelegationTokenRequest::default()).await;
            answer.decode::<DescribeDelegationTokenResponse<'_>>().error_code
        }
        other => panic!("{other:?} is not asked"),
    };
    codes([error])
}

async fn describe_configs(asker: &mut Asker) -> String {
    let resources = RESOURCES.iter().map(|(kind, name, _)| DescribeConfigsResource {
        resource_type: *kind,
        resource_name: (*name).into(),
        configuration_keys: None,
    });
    let request = DescribeConfigsRequest { resources: resources.collect(), ..Default::default() };
    let answer = asker.ask(4, &request).await;
    let body: DescribeConfigsResponse = answer.decode();
    assert!(body.results.iter().all(|result| result.configs.is_empty()));
    let results = body.results.iter();
    of_resources(results.map(|result| (result.resource_type, result.error_code)).collect())
}

async fn alter_configs(asker: &mut Asker) -> String {
    use alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
    let known = RESOURCES.iter().filter(|(kind, ..)| *kind != BROKER_LOGGER);
    let resources = known.map(|(kind, name, _)| AlterConfigsResource {
        resource_type: *kind,
        resource_name: (*name).into(),
        configs: Vec::new(),
    });
    let request = AlterConfigsRequest { resources: resources.collect(), validate_only: false };
    let answer = asker.ask(2, &request).await;
    let body: alter_configs_response::AlterConfigsResponse = answer.decode();
    let results = body.responses.iter();
    of_resources(results.map(|result| (result.resource_type, result.error_code)).collect())
}

async fn incremental_alter_configs(asker: &mut Asker) -> String {
    use incremental_alter_configs_request::{AlterConfigsResource, IncrementalAlterConfigsRequest};
    let resources = RESOURCES.iter().map(|(kind, name, _)| AlterConfigsResource {
        resource_type: *kind,
        resource_name: (*name).into(),
        configs: Vec::new(),
    });
    let request =
        IncrementalAlterConfigsRequest { resources: resources.collect(), validate_only: false };
    let answer = asker.ask(1, &request).await;
    let body: incremental_alter_configs_response::IncrementalAlterConfigsResponse = answer.decode();
    let results = body.responses.iter();
    of_resources(results.map(|result| (result.resource_type, result.error_code)).collect())
}
