//! Settings of weight that Ringlog does not have yet. Most of Kafka's settings can be taken
//! without an effect and nobody is the worse for it; not those that decide who may read the logs,
//! or which cluster a node belongs to. These are refused at start, and whatever else was set
//! without an effect is listed for the log.

use ringlog_types::BrokerId;

use crate::error::ConfigError;
use crate::layers::Layers;
use crate::setting::Status;
use crate::table::{broker_setting, is_about_security};

/// Refuses what would be served openly, or apart from its cluster.
pub(crate) fn check(layers: &Layers, node_id: BrokerId) -> Result<(), ConfigError> {
    let authorizer = layers.text("authorizer.class.name")?.unwrap_or_default();
    if !authorizer.is_empty() {
        let reason = "Ringlog has no access control yet and would serve everybody; remove it to \
                      say that this is wanted";
        return Err(ConfigError::invalid("authorizer.class.name", &authorizer, reason));
    }
    let roles = layers.list("process.roles")?.unwrap_or_default();
    let has = |role: &str| roles.iter().any(|given| given == role);
    let lacks_one = !has("broker") || !has("controller");
    if !roles.is_empty() && lacks_one {
        let reason = "Ringlog cannot join another cluster's controllers yet, or be one alone: \
                      each node is broker,controller";
        return Err(ConfigError::invalid("process.roles", &roles.join(","), reason));
    }
    let voters = layers.list("controller.quorum.voters")?.unwrap_or_default();
    let own = format!("{node_id}@");
    if voters.iter().any(|voter| !voter.trim().starts_with(&own)) {
        let reason = format!(
            "Ringlog cannot form a quorum with other nodes yet; only this node ({node_id}) can \
             be named"
        );
        return Err(ConfigError::invalid("controller.quorum.voters", &voters.join(","), reason));
    }
    Ok(())
}

/// What was set at start, to something else than its default, without an effect here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WithoutEffect {
    /// Settings about who may connect, and how.
    pub security: Vec<String>,
    /// All others.
    pub others: Vec<String>,
}

pub(crate) fn without_effect(layers: &Layers) -> WithoutEffect {
    let mut found = WithoutEffect::default();
    for (key, text) in &layers.file {
        let counts = match broker_setting(key) {
            Some(setting) => {
                let default = setting.default.map(|default| setting.parse(default));
                setting.status == Status::Accepted && Some(setting.parse(text)) != default
            }
            None => true,
        };
        match is_about_security(key) {
            _ if !counts => {}
            true => found.security.push(key.clone()),
            false => found.others.push(key.clone()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::{BrokerConfig, Settings};

    fn resolved(text: &str) -> Result<BrokerConfig, String> {
        let mut settings = Settings::new();
        settings.read_file("server.properties", text).unwrap();
        settings.resolve().map_err(|errors| errors[0].to_string())
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (text, said) in [
            ("authorizer.class.name=org.apache.kafka.StandardAuthorizer", "no access control"),
            ("process.roles=broker", "cannot join"),
            ("process.roles=controller", "cannot join"),
            ("node.id=2\ncontroller.quorum.voters=1@a:9093,2@b:9093", "only this node (2)"),
        ] {
            let error = resolved(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
            assert!(error.contains("server.properties, line"), "{error}");
        }
        for text in [
            "authorizer.class.name=",
            "process.roles=controller,broker\nnode.id=2\ncontroller.quorum.voters=2@b:9093",
        ] {
            assert!(resolved(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_has_no_effect_is_listed() {
        let text = "num.io.threads=9\nnum.network.threads=3\nlog.retention.ms=5\n\
                    sasl.enabled.mechanisms=SCRAM-SHA-512\nsuper.users=User:a\n\
                    listener.name.plaintext.ssl.client.auth=required\nzookeeper.connect=a:2181\n";
        let found = resolved(text).unwrap().without_effect();
        assert_eq!(found.others, ["num.io.threads", "zookeeper.connect"]);
        assert_eq!(
            found.security,
            ["listener.name.plaintext.ssl.client.auth", "sasl.enabled.mechanisms", "super.users"]
        );
    }
}
