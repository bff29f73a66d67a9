//! The librdkafka settings that `properties` may not touch, each with the reason.

/// Says why a librdkafka setting is not the user's to choose, if it is not.
pub(crate) fn refusal(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason)
}

const REFUSED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "use `brokers` of the bridge instead"),
    (
        &[
            "security.protocol",
            "enable.ssl.certificate.verification",
            "ssl.endpoint.identification.algorithm",
        ],
        "use `tls` and `sasl` of the bridge instead; a broker's certificate and name are always verified",
    ),
    (
        &[
            "ssl.ca.location",
            "ssl.ca.pem",
            "ssl.ca.certificate.stores",
            "ssl_ca",
            "ssl.certificate.location",
            "ssl.certificate.pem",
            "ssl_certificate",
            "ssl.key.location",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl_key",
            "ssl.keystore.location",
            "ssl.keystore.password",
            "https.ca.location",
            "https.ca.pem",
        ],
        "use `tls` of the bridge instead: `ca`, `certificate` and `key`, all in PEM",
    ),
    (
        &[
            "sasl.mechanism",
            "sasl.mechanisms",
            "sasl.username",
            "sasl.password",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.method",
            "sasl.oauthbearer.client.id",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.scope",
            "sasl.oauthbearer.token.endpoint.url",
            "enable.sasl.oauthbearer.unsecure.jwt",
        ],
        "use `sasl` of the bridge instead",
    ),
    (&["client.id"], "it is the configuration's `service`"),
    (
        &["group.id", "group.protocol", "group.protocol.type", "group.instance.id", "group.remote.assignor"],
        "the bridge joins groups itself: a subscription's group is `<service>.<subscription>`, or its `group`",
    ),
    (
        &["acks", "request.required.acks", "enable.idempotence", "enable.gapless.guarantee"],
        "a receipt means that all in-sync replicas have the message, once",
    ),
    (
        &["max.in.flight", "max.in.flight.requests.per.connection", "message.send.max.retries", "retries"],
        "the idempotent producer chooses this, so that order holds",
    ),
    (&["transactional.id", "transaction.timeout.ms"], "the bridge does not publish in transactions"),
    (
        &["partitioner", "sticky.partitioning.linger.ms"],
        "keys are placed as the Java client places them, so that they stay together with other producers'",
    ),
    (&["linger.ms", "queue.buffering.max.ms"], "use `linger` of the bridge instead"),
    (&["compression.codec", "compression.type"], "use `compression` of the bridge instead"),
    (&["message.max.bytes"], "use `max_message` of the bridge instead"),
    (
        &["message.timeout.ms", "delivery.timeout.ms", "request.timeout.ms"],
        "use `max_deadline` of the bridge instead",
    ),
    (
        &["allow.auto.create.topics", "topic.metadata.propagation.max.ms"],
        "an unknown topic is said within a second and never created by accident; see `create_topics`",
    ),
    (
        &[
            "enable.auto.commit",
            "auto.commit.enable",
            "auto.commit.interval.ms",
            "enable.auto.offset.store",
            "offset.store.method",
            "offset.store.path",
            "offset.store.sync.interval.ms",
        ],
        "what is committed is what was settled, and nothing else",
    ),
    (
        &["auto.offset.reset"],
        "where a new group begins is the subscription's `start`; a lost position begins at the oldest message",
    ),
    (&["partition.assignment.strategy"], "members hand over partitions cooperatively, and settle first"),
    (
        &["enable.partition.eof", "statistics.interval.ms", "delivery.report.only.error"],
        "the bridge reads these events itself",
    ),
    (&["plugin.library.paths"], "a configuration file does not load code"),
    (
        &[
            "enabled_events",
            "error_cb",
            "throttle_cb",
            "stats_cb",
            "log_cb",
            "log.queue",
            "dr_cb",
            "dr_msg_cb",
            "opaque",
            "rebalance_cb",
            "offset_commit_cb",
            "consume_cb",
            "default_topic_conf",
            "background_event_cb",
            "socket_cb",
            "connect_cb",
            "closesocket_cb",
            "open_cb",
            "resolve_cb",
            "interceptors",
            "ssl.certificate.verify_cb",
            "oauthbearer_token_refresh_cb",
            "partitioner_cb",
            "msg_order_cmp",
        ],
        "this is not a setting but a hook for programs",
    ),
];
