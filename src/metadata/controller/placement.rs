//! Which brokers a new partition lives on.

use ringlog_types::{BrokerId, ErrorCode, Uuid};

use super::api_error::ApiError;
use super::entropy::Entropy;
use crate::features::RecordVersions;
use crate::image::{Broker, Image, Partition};

/// Brokers that can take a new partition.
fn usable(broker: &Broker) -> bool {
    !broker.fenced && !broker.in_controlled_shutdown
}

/// Replicas for `count` new partitions, of which the first will be number `first`: leaders go
/// around the brokers, beginning anywhere, and followers shift with every lap.
pub(crate) fn place(
    image: &Image,
    first: i32,
    count: i32,
    replication_factor: i16,
    entropy: &mut Entropy,
) -> Result<Vec<Vec<BrokerId>>, ApiError> {
    let brokers: Vec<BrokerId> =
        image.brokers().filter(|broker| usable(broker)).map(|broker| broker.id).collect();
    let registered = image.brokers().count();
    let wanted = usize::try_from(replication_factor).unwrap_or(usize::MAX);
    if wanted > brokers.len() || brokers.is_empty() {
        let reason = match registered == brokers.len() {
            true => format!(
                "The target replication factor of {replication_factor} cannot be reached because \
                 only {registered} broker(s) are registered."
            ),
            false if brokers.is_empty() => "All brokers are currently fenced.".to_owned(),
            false => format!(
                "The target replication factor of {replication_factor} cannot be reached because \
                 only {} of {registered} registered broker(s) are unfenced.",
                brokers.len()
            ),
        };
        let message =
            format!("Unable to replicate the partition {replication_factor} time(s): {reason}");
        return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, message));
    }
    let (start, n) = (entropy.below(brokers.len()), brokers.len());
    let replicas = |index: usize| {
        let leader = (start + index) % n;
        let lap = index / n;
        let followers = (0..wanted - 1).map(move |j| (leader + 1 + (lap + j) % (n - 1).max(1)) % n);
        std::iter::once(leader).chain(followers).map(|at| brokers[at]).collect()
    };
    Ok((first..first + count).map(|index| replicas(index.unsigned_abs() as usize)).collect())
}

/// Checks replicas that the request names. `like` is the number that others of the topic have.
pub(crate) fn check_manual(
    image: &Image,
    replicas: &[BrokerId],
    like: Option<usize>,
) -> Result<(), ApiError> {
    let refuse = |message: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for (at, id) in sorted.iter().enumerate() {
        if image.broker(*id).is_none() {
            return refuse(format!(
                "The manual partition assignment includes broker {id}, but no such broker is \
                 registered."
            ));
        }
        if at > 0 && sorted[at - 1] == *id {
            return refuse(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
    }
    match like {
        Some(like) if like != replicas.len() => refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is \
             not consistent with previous partitions, which have {like} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

/// A new partition on these brokers: those that serve are in sync, the first of them leads.
pub(crate) fn new_partition(
    image: &Image,
    index: i32,
    replicas: Vec<BrokerId>,
) -> Result<Partition, ApiError> {
    let serving = |id: &BrokerId| image.broker(*id).is_some_and(usable);
    let isr: Vec<BrokerId> = replicas.iter().copied().filter(serving).collect();
    let Some(&leader) = isr.first() else {
        let message = format!(
            "All brokers specified in the manual partition assignment for partition {index} are \
             fenced or in controlled shutdown."
        );
        return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
    };
    // A broker with one directory has no choice; one with several tells later, or never.
    let directory = |id: &BrokerId| match image.broker(*id).map(|broker| broker.log_dirs.as_slice())
    {
        Some(&[only]) => only,
        _ => Uuid::ZERO,
    };
    let directories = match RecordVersions::of(image).partition() {
        0 => Vec::new(),
        _ => replicas.iter().map(directory).collect(),
    };
    Ok(Partition {
        directories,
        replicas,
        isr,
        removing_replicas: Vec::new(),
        adding_replicas: Vec::new(),
        leader,
        leader_recovery_state: 0,
        leader_epoch: 0,
        partition_epoch: 0,
        eligible_leader_replicas: Vec::new(),
        last_known_elr: Vec::new(),
    })
}
