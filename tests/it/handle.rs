//! A node in this process, as the thread that shows it to people knows it.

use ringlog_broker::{Node, NodeHandle};
use ringlog_config::{BrokerConfig, IoBackend, Listener};
use ringlog_metrics::{BuildInfo, NodeMetrics};
use ringlog_types::BrokerId;

#[tokio::test]
async fn a_handle_asks_a_node_for_as_long_as_it_serves() {
    let data = tempfile::tempdir().unwrap();
    let mut config = BrokerConfig {
        shards: 1,
        io: IoBackend::Fallback,
        log_dirs: vec![data.path().into()],
        ..BrokerConfig::default()
    };
    let protocol = config.listeners[0].clone();
    config.listeners = vec![Listener { host: "127.0.0.1".into(), port: 0, ..protocol }];
    config.advertised_listeners = config.listeners.clone();
    let handle = NodeHandle::new(NodeMetrics::new(BuildInfo { version: "test" }));
    assert!(!handle.stop(), "there is nothing to stop yet");
    assert!(handle.image().await.is_none());
    assert_eq!(handle.metrics().unready_reasons(), ["the node is starting"]);
    let node = Node::start(config, &handle).unwrap();
    let image = handle.image().await.expect("it serves");
    assert!(image.broker(BrokerId(1)).is_some(), "it has registered");
    assert!(handle.metrics().unready_reasons().is_empty());
    assert!(handle.clone().stop());
    assert_eq!(handle.metrics().unready_reasons(), ["the node is stopping"]);
    tokio::task::spawn_blocking(|| node.wait()).await.unwrap().unwrap();
    assert!(handle.stop(), "calling it again does no harm");
    assert!(handle.image().await.is_none(), "nobody answers any more");
}
