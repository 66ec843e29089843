//! TLS, SASL, authorization and delegation tokens.

use super::rows;

rows! {
    "authorizer.class.name", String, Some(""), Any, Low, ReadOnly, Accepted,
        "A Java class that decides who may do what; empty for nobody asking. Anything else is \
         refused: there is no access control yet.";
    "principal.builder.class", Class,
        Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"),
        Any, Medium, PerBroker, Accepted,
        "A Java class that names whoever is connected.";
    "security.providers", String, None, Any, Low, ReadOnly, Accepted,
        "Java classes that provide security algorithms.";
    "delegation.token.expiry.check.interval.ms", Long, Some("3600000"),
        AtLeast(1), Low, ReadOnly, Accepted,
        "How often expired tokens are removed.";
    "delegation.token.expiry.time.ms", Long, Some("86400000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "How long a token is valid before it must be renewed.";
    "delegation.token.max.lifetime.ms", Long, Some("604800000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "How long a token can be renewed for.";
    "delegation.token.secret.key", Password, None, Any, Medium, ReadOnly, Accepted,
        "The key by which tokens are signed.";
    "sasl.client.callback.handler.class", Class, None, Any, Medium, ReadOnly, Accepted,
        "A Java class for the client's side of SASL.";
    "sasl.enabled.mechanisms", List, Some("GSSAPI"), Any, Medium, PerBroker, Accepted,
        "SASL mechanisms offered to clients.";
    "sasl.jaas.config", Password, None, Any, Medium, PerBroker, Accepted,
        "Java login settings of a SASL listener.";
    "sasl.kerberos.kinit.cmd", String, Some("/usr/bin/kinit"), Any, Medium, PerBroker, Accepted,
        "The path of `kinit`.";
    "sasl.kerberos.min.time.before.relogin", Long, Some("60000"), Any, Medium, PerBroker, Accepted,
        "Shortest time between two Kerberos logins.";
    "sasl.kerberos.principal.to.local.rules", List, Some("DEFAULT"),
        Any, Medium, PerBroker, Accepted,
        "How Kerberos principals become user names.";
    "sasl.kerberos.service.name", String, None, Any, Medium, PerBroker, Accepted,
        "The broker's Kerberos service name.";
    "sasl.kerberos.ticket.renew.jitter", Double, Some("0.05"), Any, Medium, PerBroker, Accepted,
        "Random share added to the time of a ticket's renewal.";
    "sasl.kerberos.ticket.renew.window.factor", Double, Some("0.8"),
        Any, Medium, PerBroker, Accepted,
        "Share of a ticket's life after which it is renewed.";
    "sasl.login.callback.handler.class", Class, None, Any, Medium, ReadOnly, Accepted,
        "A Java class for SASL logins.";
    "sasl.login.class", Class, None, Any, Medium, ReadOnly, Accepted,
        "A Java class that logs in.";
    "sasl.login.connect.timeout.ms", Int, None, Any, Low, ReadOnly, Accepted,
        "How long a login waits for the identity provider's connection.";
    "sasl.login.read.timeout.ms", Int, None, Any, Low, ReadOnly, Accepted,
        "How long a login waits for the identity provider's answer.";
    "sasl.login.refresh.buffer.seconds", Short, Some("300"), Any, Medium, PerBroker, Accepted,
        "Time before a token's end by which it must be refreshed.";
    "sasl.login.refresh.min.period.seconds", Short, Some("60"), Any, Medium, PerBroker, Accepted,
        "Shortest time between two refreshes of a token.";
    "sasl.login.refresh.window.factor", Double, Some("0.8"), Any, Medium, PerBroker, Accepted,
        "Share of a token's life after which it is refreshed.";
    "sasl.login.refresh.window.jitter", Double, Some("0.05"), Any, Medium, PerBroker, Accepted,
        "Random share added to the time of a token's refresh.";
    "sasl.login.retry.backoff.max.ms", Long, Some("10000"), Any, Low, ReadOnly, Accepted,
        "Longest pause between two logins.";
    "sasl.login.retry.backoff.ms", Long, Some("100"), Any, Low, ReadOnly, Accepted,
        "First pause between two logins.";
    "sasl.mechanism.controller.protocol", String, Some("GSSAPI"), Any, High, ReadOnly, Accepted,
        "SASL mechanism towards controllers.";
    "sasl.mechanism.inter.broker.protocol", String, Some("GSSAPI"),
        Any, Medium, PerBroker, Accepted,
        "SASL mechanism between brokers.";
    "sasl.oauthbearer.assertion.algorithm", String, Some("RS256"),
        OneOfIgnoringCase(&["ES256", "RS256"]), Medium, ReadOnly, Accepted,
        "Algorithm that signs an assertion.";
    "sasl.oauthbearer.assertion.claim.aud", String, None, Any, Medium, ReadOnly, Accepted,
        "The `aud` claim of an assertion.";
    "sasl.oauthbearer.assertion.claim.exp.seconds", Int, Some("300"),
        Between(0, 86_400), Low, ReadOnly, Accepted,
        "Seconds after which an assertion expires.";
    "sasl.oauthbearer.assertion.claim.iss", String, None, Any, Medium, ReadOnly, Accepted,
        "The `iss` claim of an assertion.";
    "sasl.oauthbearer.assertion.claim.jti.include", Boolean, Some("false"),
        Any, Medium, ReadOnly, Accepted,
        "Whether an assertion has a `jti` claim.";
    "sasl.oauthbearer.assertion.claim.nbf.seconds", Int, Some("60"),
        Between(0, 3600), Low, ReadOnly, Accepted,
        "Seconds in the past from which an assertion is valid.";
    "sasl.oauthbearer.assertion.claim.sub", String, None, Any, Medium, ReadOnly, Accepted,
        "The `sub` claim of an assertion.";
    "sasl.oauthbearer.assertion.file", String, None, Any, Medium, ReadOnly, Accepted,
        "A file with a ready assertion.";
    "sasl.oauthbearer.assertion.private.key.file", String, None, Any, Medium, ReadOnly, Accepted,
        "The file of the key that signs assertions.";
    "sasl.oauthbearer.assertion.private.key.passphrase", Password, None,
        Any, Medium, ReadOnly, Accepted,
        "The passphrase of that key.";
    "sasl.oauthbearer.assertion.template.file", String, None, Any, Medium, ReadOnly, Accepted,
        "A template for assertions.";
    "sasl.oauthbearer.client.credentials.client.id", String, None, Any, Medium, ReadOnly, Accepted,
        "The client id for the client credentials grant.";
    "sasl.oauthbearer.client.credentials.client.secret", Password, None,
        Any, Medium, ReadOnly, Accepted,
        "The secret for the client credentials grant.";
    "sasl.oauthbearer.clock.skew.seconds", Int, Some("30"), Any, Low, ReadOnly, Accepted,
        "Difference allowed between this clock and the identity provider's.";
    "sasl.oauthbearer.expected.audience", List, Some(""), Any, High, ReadOnly, Accepted,
        "Audiences of which a token must name one.";
    "sasl.oauthbearer.expected.issuer", String, None, Any, High, ReadOnly, Accepted,
        "Issuer that a token must name.";
    "sasl.oauthbearer.jwks.endpoint.refresh.ms", Long, Some("3600000"),
        Any, Low, ReadOnly, Accepted,
        "How often the provider's keys are fetched.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Long, Some("10000"),
        Any, Low, ReadOnly, Accepted,
        "Longest pause between two attempts to fetch the keys.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Long, Some("100"),
        Any, Low, ReadOnly, Accepted,
        "First pause between two attempts to fetch the keys.";
    "sasl.oauthbearer.jwks.endpoint.url", String, None, Any, Medium, ReadOnly, Accepted,
        "Where the provider's keys are.";
    "sasl.oauthbearer.jwt.retriever.class", Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever"),
        Any, Medium, ReadOnly, Accepted,
        "A Java class that gets tokens.";
    "sasl.oauthbearer.jwt.validator.class", Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator"),
        Any, Medium, ReadOnly, Accepted,
        "A Java class that checks tokens.";
    "sasl.oauthbearer.scope", String, None, Any, Medium, ReadOnly, Accepted,
        "The scope asked for.";
    "sasl.oauthbearer.scope.claim.name", String, Some("scope"), Any, Low, ReadOnly, Accepted,
        "The claim that holds the scope.";
    "sasl.oauthbearer.sub.claim.name", String, Some("sub"), Any, Low, ReadOnly, Accepted,
        "The claim that holds the subject.";
    "sasl.oauthbearer.token.endpoint.url", String, None, Any, Medium, ReadOnly, Accepted,
        "Where tokens are issued.";
    "sasl.server.callback.handler.class", Class, None, Any, Medium, ReadOnly, Accepted,
        "A Java class for the server's side of SASL.";
    "sasl.server.max.receive.size", Int, Some("524288"), Any, Medium, ReadOnly, Accepted,
        "Largest message before a client is authenticated.";
    "ssl.allow.dn.changes", Boolean, Some("false"), Any, Low, ReadOnly, Accepted,
        "Whether a new certificate may name another subject.";
    "ssl.allow.san.changes", Boolean, Some("false"), Any, Low, ReadOnly, Accepted,
        "Whether a new certificate may lack alternative names of the old one.";
    "ssl.cipher.suites", List, Some(""), Any, Medium, PerBroker, Accepted,
        "Cipher suites that are allowed; empty for the defaults.";
    "ssl.client.auth", String, Some("none"),
        OneOf(&["required", "requested", "none"]), Medium, PerBroker, Accepted,
        "Whether clients must, may or need not show a certificate.";
    "ssl.enabled.protocols", List, Some("TLSv1.2,TLSv1.3"), Any, Medium, PerBroker, Accepted,
        "TLS versions that are allowed.";
    "ssl.endpoint.identification.algorithm", String, Some("https"), Any, Low, PerBroker, Accepted,
        "How a server's host name is checked.";
    "ssl.engine.factory.class", Class, None, Any, Low, PerBroker, Accepted,
        "A Java class that makes TLS engines.";
    "ssl.key.password", Password, None, Any, Medium, PerBroker, Accepted,
        "The password of the private key.";
    "ssl.keymanager.algorithm", String, Some("SunX509"), Any, Medium, PerBroker, Accepted,
        "Java's key manager.";
    "ssl.keystore.certificate.chain", Password, None, Any, Medium, PerBroker, Accepted,
        "The certificate chain, as PEM text.";
    "ssl.keystore.key", Password, None, Any, Medium, PerBroker, Accepted,
        "The private key, as PEM text.";
    "ssl.keystore.location", String, None, Any, Medium, PerBroker, Accepted,
        "The file with key and certificate.";
    "ssl.keystore.password", Password, None, Any, Medium, PerBroker, Accepted,
        "The password of that file.";
    "ssl.keystore.type", String, Some("JKS"), Any, Medium, PerBroker, Accepted,
        "The format of that file.";
    "ssl.principal.mapping.rules", String, Some("DEFAULT"), Any, Low, ReadOnly, Accepted,
        "How a certificate's subject becomes a user name.";
    "ssl.protocol", String, Some("TLSv1.3"), Any, Medium, PerBroker, Accepted,
        "The TLS version of Java's context.";
    "ssl.provider", String, None, Any, Medium, PerBroker, Accepted,
        "Java's TLS provider.";
    "ssl.secure.random.implementation", String, None, Any, Low, PerBroker, Accepted,
        "Java's random number generator.";
    "ssl.trustmanager.algorithm", String, Some("PKIX"), Any, Medium, PerBroker, Accepted,
        "Java's trust manager.";
    "ssl.truststore.certificates", Password, None, Any, Medium, PerBroker, Accepted,
        "Trusted certificates, as PEM text.";
    "ssl.truststore.location", String, None, Any, Medium, PerBroker, Accepted,
        "The file with the trusted certificates.";
    "ssl.truststore.password", Password, None, Any, Medium, PerBroker, Accepted,
        "The password of the trust store.";
    "ssl.truststore.type", String, Some("JKS"), Any, Medium, PerBroker, Accepted,
        "The format of the trust store.";
}
