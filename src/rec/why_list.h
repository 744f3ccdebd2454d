/* rec/why_list.h - every reason for which a connection or a login fails, in one table.
 *
 * From it are made: the codes, "postern why", the sentences of the log, postern-why(7). Each row is read aloud as
 *     WHAT; NEXT.
 * where WHAT says who did what, and NEXT what a person does now. {words} are put in from the record
 * (why_text.c has their list). A code is a stable word: it may be added or retired, never given another meaning.
 *
 * side: CLIENT, SERVER (and who runs it), NETWORK, NOBODY. kind: FAILED (it ended the connection or the handshake),
 * LOGIN (the session went on, but its certificate did not count), ENDED (an end of a session that worked, which may
 * need explaining), NOTE (nothing was lost). level: of the log. */
#ifndef REC_WHY_LIST_H
#define REC_WHY_LIST_H

#define WHY_CERTIFICATES(X)                                                                        \
	X(CERT_MISSING, "certificate-missing", CLIENT, FAILED, NOTICE,                             \
	  "The client sent no certificate, and service {service} requires one",                    \
	  "choose a certificate in the client's settings that a CA of this server has issued")     \
	X(CERT_UNKNOWN_CA, "certificate-unknown-ca", CLIENT, FAILED, NOTICE,                       \
	  "The client's certificate {subject} was issued by {issuer}, which is no CA that service {service} " \
	  "trusts{outcome}",                                                                       \
	  "use a certificate of a trusted CA, or, if {issuer} stands below one, let the client send the " \
	  "certificate of {issuer} along; to trust it, add it to client-ca")                       \
	X(CERT_CHAIN, "certificate-chain-incomplete", CLIENT, FAILED, NOTICE,                      \
	  "The client's certificate {subject} hangs in the air: the certificate of {issuer}, which leads from it " \
	  "to a CA that service {service} trusts, was not sent along{outcome}",                    \
	  "install the whole chain at the client, its own certificate first and that of {issuer} behind it") \
	X(CERT_SELF_SIGNED, "certificate-self-signed", CLIENT, FAILED, NOTICE,                     \
	  "The client's certificate {subject} is signed by itself and not by a CA that service {service} " \
	  "trusts{outcome}",                                                                       \
	  "replace it by one that a trusted CA has issued")                                        \
	X(CERT_NOT_A_CA, "certificate-issuer-no-ca", CLIENT, FAILED, NOTICE,                       \
	  "The client's certificate {subject} was issued with a certificate that may not issue others: that of " \
	  "{issuer} is no CA certificate{outcome}",                                                \
	  "issue it anew with a CA certificate (basicConstraints CA:TRUE, keyCertSign)")           \
	X(CERT_EXPIRED, "certificate-expired", CLIENT, FAILED, NOTICE,                             \
	  "The client's certificate {subject} expired on {not-after}, {not-after-ago} before this " \
	  "connection{outcome}",                                                                   \
	  "renew it and install the new one; if that date lies ahead, set the clock of this server right") \
	X(CERT_CA_EXPIRED, "certificate-ca-expired", SERVER, FAILED, NOTICE,                       \
	  "A CA certificate that the client's certificate {subject} rests on has expired{when-on}{outcome}", \
	  "renew the CA's certificate and put the new one in place of the old, in client-ca or in the client's " \
	  "chain")                                                                                 \
	X(CERT_FUTURE, "certificate-not-yet-valid", CLIENT, FAILED, NOTICE,                        \
	  "The client's certificate {subject} is valid only from {not-before} on, {not-before-in} after this " \
	  "connection{outcome}",                                                                   \
	  "wait until then, or, if that time has come, set the clock of this server right")        \
	X(CERT_REVOKED, "certificate-revoked", CLIENT, FAILED, NOTICE,                             \
	  "The client's certificate {subject} was revoked by its CA{when-on}{outcome}",            \
	  "give the device a new certificate if it may still come in; otherwise nothing is to be done") \
	X(CERT_CA_REVOKED, "certificate-ca-revoked", SERVER, FAILED, NOTICE,                       \
	  "A CA that the client's certificate {subject} rests on was revoked{when-on}{outcome}",   \
	  "issue the client's certificate anew by a CA that still counts")                         \
	X(CRL_STALE, "crl-stale", SERVER, FAILED, WARNING,                                         \
	  "The revocation list for the client's certificate {subject} is out of date{when-since}, so that " \
	  "this server cannot know whether it still counts{outcome}",                              \
	  "let the CA publish a new list and put it into the file of client-crl")                  \
	X(CERT_PURPOSE, "certificate-wrong-purpose", CLIENT, FAILED, NOTICE,                       \
	  "The client's certificate {subject} was not issued for clients: client authentication is not among its " \
	  "purposes{outcome}",                                                                     \
	  "issue one with the extended key usage clientAuth")                                      \
	X(CERT_TAMPERED, "certificate-bad-signature", CLIENT, FAILED, WARNING,                     \
	  "The signature in the client's certificate {subject} is not that of {issuer}: the certificate was " \
	  "changed or damaged{outcome}",                                                           \
	  "install it again from where it was issued; if it fails again, somebody forges certificates") \
	X(CERT_WEAK, "certificate-weak-signature", CLIENT, FAILED, NOTICE,                         \
	  "The client's certificate {subject}, or one above it, is signed in a way that is too weak to trust " \
	  "today (such as SHA-1){outcome}",                                                        \
	  "issue it anew with SHA-256 or better")                                                  \
	X(CERT_MALFORMED, "certificate-unreadable", CLIENT, FAILED, NOTICE,                        \
	  "What the client sent as its certificate cannot be read as one",                         \
	  "install the certificate at the client again, in the format that the client expects")    \
	X(CERT_NO_PROOF, "certificate-no-proof", CLIENT, FAILED, WARNING,                          \
	  "The client showed certificate {subject} but did not prove that it has the private key of it",      \
	  "see that certificate and key at the client belong together; if they do, somebody uses a certificate " \
	  "that is not theirs")                                                                    \
	X(CERT_UNMAPPED, "certificate-unmapped", SERVER, LOGIN, NOTICE,                            \
	  "The client's certificate {subject} is good, but no name in it ({names}) is that of a user, so nobody " \
	  "was logged in",                                                                         \
	  "issue it with the user's mail address, or add a rule to the identity block")            \
	X(CERT_AMBIGUOUS, "certificate-names-two-users", CLIENT, LOGIN, NOTICE,                    \
	  "The client's certificate {subject} names two different users ({names}), so nobody was logged in", \
	  "give each user a certificate of their own")                                             \
	X(CERT_CHANGED, "identity-changed", CLIENT, FAILED, WARNING,                               \
	  "In a new handshake within its session the client came with another certificate than before, or with " \
	  "none, and the server ended the connection",                                             \
	  "let the client open a new connection to log in as somebody else")

/* In a session that was good for a while. */
#define WHY_LIVE(X)                                                                                \
	X(LIVE_REVOKED, "session-revoked", CLIENT, FAILED, NOTICE,                                 \
	  "While the client was in its session its certificate {subject} was revoked, and the server ended " \
	  "the session",                                                                           \
	  "give the device a new certificate if it may come in again; otherwise nothing is to be done") \
	X(LIVE_EXPIRED, "session-expired", CLIENT, FAILED, NOTICE,                                 \
	  "While the client was in its session its certificate {subject} expired, on {not-after}, and the server ended " \
	  "the session",                                                                           \
	  "renew it and install the new one at the client")                                        \
	X(LIVE_DISTRUSTED, "session-distrusted", SERVER, FAILED, NOTICE,                           \
	  "While the client was in its session service {service} stopped trusting its certificate {subject} (its CA is no " \
	  "longer good for it), and the server ended the session",                                 \
	  "if {issuer} should still be trusted, put it back into client-ca")                       \
	X(LIVE_UNMAPPED, "session-unmapped", SERVER, FAILED, NOTICE,                               \
	  "While the client was in its session its certificate {subject} ceased to stand for the user {user}, and the " \
	  "server ended the session",                                                              \
	  "look at the rules of the identity block and the files that they name")                  \
	X(LIVE_USER_GONE, "session-user-removed", SERVER, FAILED, NOTICE,                          \
	  "While the client was in its session the user {user} was removed, and the server ended the session", \
	  "if that was not meant, add the user again (postern user add)")                          \
	X(LIVE_PASSWORD, "session-password-changed", SERVER, FAILED, NOTICE,                       \
	  "While the client was in its session as {user} the password that it had logged in with was changed, and the " \
	  "server ended the session",                                                              \
	  "give the client the new password")

#define WHY_NEGOTIATION(X)                                                                         \
	X(NO_VERSION, "no-common-version", CLIENT, FAILED, NOTICE,                                 \
	  "The client speaks no version of TLS that is allowed here: it offers {offered}, and service {service} " \
	  "allows {allowed}",                                                                      \
	  "update the client; if it is the server that is too narrow, look at protocols in its tls block") \
	X(NO_CIPHER, "no-common-cipher", CLIENT, FAILED, NOTICE,                                   \
	  "The client offers {suites} ways of encrypting (cipher suites), and none of them is allowed here", \
	  "update the client, or widen its list: AES-GCM and ChaCha20-Poly1305 with ephemeral keys are taken") \
	X(NO_SIGNATURE, "no-common-signature", CLIENT, FAILED, NOTICE,                             \
	  "The client takes none of the kinds of signature that the server's certificate can make (signature " \
	  "algorithms)",                                                                           \
	  "update the client, or give the server a further certificate with a key of another kind, such as RSA " \
	  "beside ECDSA")                                                                          \
	X(NO_GROUP, "no-common-group", CLIENT, FAILED, NOTICE,                                     \
	  "Client and server have no way of agreeing on a key in common (key exchange group): the client offers " \
	  "neither X25519 nor P-256, P-384 or a finite field group of RFC 7919",                    \
	  "update the client, or allow one of these in its settings")                              \
	X(NO_PROTOCOL, "no-common-protocol", CLIENT, FAILED, NOTICE,                               \
	  "Within TLS the client wants to speak {alpn}, which service {service} does not (ALPN)",  \
	  "look at the port in the client's settings: there it speaks another protocol")           \
	X(NAME_UNKNOWN, "server-name-unknown", SERVER, FAILED, NOTICE,                             \
	  "The client asked for the server name {name}, got a certificate for other names, and ended the handshake", \
	  "set the client to a name in the server's certificate, or give the server one for {name}") \
	X(FALLBACK, "inappropriate-fallback", CLIENT, FAILED, NOTICE,                              \
	  "The client came with {offered} and said that this is less than it can (a fallback), though the server " \
	  "speaks more",                                                                           \
	  "let the client try again from the start; when that never helps, something between the two spoils newer " \
	  "versions of TLS")

/* What the client says in an alert, in the order of their numbers. */
#define WHY_ALERTS(X)                                                                              \
	X(ALERT_CLOSE, "client-closed-handshake", CLIENT, FAILED, NOTICE,                          \
	  "The client ended the handshake in good order before it was complete (close_notify)",    \
	  "look at the client: it, or the person before it, did not want to go on; often it did not like the " \
	  "server's certificate")                                                                  \
	X(ALERT_UNEXPECTED, "client-says-unexpected-message", CLIENT, FAILED, NOTICE,              \
	  "The client got a message that it did not expect, and ended the connection (alert 10)",  \
	  "update the client; if it speaks TLS well with others, report this as a mistake of the server") \
	X(ALERT_BAD_MAC, "client-says-bad-record", CLIENT, FAILED, NOTICE,                         \
	  "What the server sent did not arrive unchanged, says the client (alert 20: bad record)", \
	  "look at what stands between the two: a proxy or a firewall that changes octets")        \
	X(ALERT_OVERFLOW, "client-says-record-too-large", CLIENT, FAILED, NOTICE,                  \
	  "The client says that the server's records are too large for it (alert 22)",             \
	  "often it spoke TLS with something that answered in plaintext: look at port and settings of the client") \
	X(ALERT_HANDSHAKE, "client-says-handshake-failure", CLIENT, FAILED, NOTICE,                \
	  "The client could not agree with what the server chose, and ended the handshake (alert 40)", \
	  "look at the client's log for what it missed; often its list of ciphers or certificates is too narrow") \
	X(ALERT_BAD_CERT, "client-says-bad-certificate", SERVER, FAILED, NOTICE,                   \
	  "The client finds the server's certificate damaged or wrong (alert 42); some clients say this also when " \
	  "they do not trust it or miss their server's name in it",                                \
	  "look at the server's certificate: its names, its chain and its CA; the client's log may say more") \
	X(ALERT_UNSUPPORTED_CERT, "client-says-unsupported-certificate", SERVER, FAILED, NOTICE,   \
	  "The client cannot use a certificate of the server's kind (alert 43): wrong purpose or kind of key", \
	  "give the server a certificate for servers (serverAuth), with a key that the client knows") \
	X(ALERT_REVOKED, "client-says-certificate-revoked", SERVER, FAILED, WARNING,               \
	  "The client says that the server's certificate was revoked (alert 44)",                  \
	  "get a new certificate for the server and install it")                                   \
	X(ALERT_EXPIRED, "client-says-certificate-expired", SERVER, FAILED, WARNING,               \
	  "The client says that the server's certificate has expired or is not valid yet (alert 45)", \
	  "renew the server's certificate; if its dates are right, the client's clock is wrong")   \
	X(ALERT_UNKNOWN_CERT, "client-says-certificate-not-acceptable", SERVER, FAILED, NOTICE,    \
	  "The client does not accept the server's certificate and does not say why (alert 46)",   \
	  "look at the client's log; often it does not know the CA, or was told another server name") \
	X(ALERT_ILLEGAL, "client-says-illegal-parameter", CLIENT, FAILED, NOTICE,                  \
	  "The client got a value that it holds for illegal, and ended the connection (alert 47)", \
	  "update the client; if it speaks TLS well with others, report this as a mistake of the server, with its " \
	  "trace")                                                                                 \
	X(ALERT_UNKNOWN_CA, "client-says-unknown-ca", SERVER, FAILED, NOTICE,                      \
	  "The client does not trust the server's certificate: it does not know the CA that issued it (alert 48)", \
	  "make that CA known to the client, or give the server a certificate of a CA that it knows; see also that " \
	  "the server sends its whole chain")                                                      \
	X(ALERT_ACCESS, "client-says-access-denied", CLIENT, FAILED, NOTICE,                       \
	  "The client found the server's certificate good, but does not want to speak to it (alert 49)", \
	  "look at the rules of the client about whom it may speak to")                            \
	X(ALERT_DECODE, "client-says-decode-error", CLIENT, FAILED, NOTICE,                        \
	  "The client could not read a message of the server (alert 50)",                          \
	  "update the client; if a proxy stands between, try without it")                          \
	X(ALERT_DECRYPT, "client-says-decrypt-error", CLIENT, FAILED, NOTICE,                      \
	  "The client found a signature or a check sum of the handshake wrong (alert 51)",         \
	  "see that the server's certificate and key belong together, and that nothing between the two changes what " \
	  "they say")                                                                              \
	X(ALERT_VERSION, "client-says-protocol-version", CLIENT, FAILED, NOTICE,                   \
	  "The client does not take the version of TLS that the server chose (alert 70)",          \
	  "allow TLS 1.2 or 1.3 in the client's settings")                                         \
	X(ALERT_SECURITY, "client-says-insufficient-security", CLIENT, FAILED, NOTICE,             \
	  "The client asks for stronger encryption than the server chose (alert 71)",              \
	  "compare the client's lowest demands with the tls block's protocols and priority")       \
	X(ALERT_INTERNAL, "client-says-internal-error", CLIENT, FAILED, NOTICE,                    \
	  "Something went wrong within the client, and it ended the connection (alert 80)",        \
	  "look at the client's log; the server can do nothing about it")                          \
	X(ALERT_CANCELED, "client-canceled", CLIENT, FAILED, NOTICE,                               \
	  "The client canceled the handshake (alert 90): a person said no, or chose no certificate", \
	  "try again, and answer the client's question")                                           \
	X(ALERT_EXTENSION, "client-says-extension", CLIENT, FAILED, NOTICE,                        \
	  "The client missed an extension of the handshake, or got one that it had not asked for (alert {alert})", \
	  "update the client; if it is new, report this as a mistake of the server, with its trace") \
	X(ALERT_NAME, "client-says-unrecognized-name", CLIENT, FAILED, NOTICE,                     \
	  "The client says that the server is not the one that it asked for (alert 112: name not recognised)", \
	  "look at the server name in the client's settings, and at the names in the server's certificate") \
	X(ALERT_OCSP, "client-says-bad-ocsp-response", SERVER, FAILED, NOTICE,                     \
	  "The client does not take the proof that the server's certificate was not revoked (alert 113: OCSP)", \
	  "fetch a new OCSP response for the server, or leave it out")                             \
	X(ALERT_ALPN, "client-says-no-application-protocol", CLIENT, FAILED, NOTICE,               \
	  "The client wants to speak another protocol in TLS than the server does (alert 120: ALPN)", \
	  "look at port and protocol in the client's settings: this port may be meant for another program") \
	X(ALERT_OTHER, "client-says-other", CLIENT, FAILED, NOTICE,                                \
	  "The client ended the connection with alert {alert}",                                    \
	  "look at the client's log for what it met")

#define WHY_WIRE(X)                                                                                \
	X(HTTP_ON_TLS, "http-on-tls", CLIENT, FAILED, NOTICE,                                      \
	  "The client spoke HTTP in plaintext, but this port is TLS from the first octet and no web server", \
	  "use the program that this port is for; a browser is not")                               \
	X(HTTP_ON_PLAIN, "http-on-plaintext", CLIENT, FAILED, NOTICE,                              \
	  "The client spoke HTTP, but service {service} is no web server",                         \
	  "use the program that this port is for; a browser is not")                               \
	X(PLAIN_ON_TLS, "plaintext-on-tls", CLIENT, FAILED, NOTICE,                                \
	  "The client spoke plaintext where TLS begins at once: this port has TLS from the first octet", \
	  "set the client to SSL/TLS instead of STARTTLS or none, or use the port with STARTTLS")  \
	X(NOT_TLS, "not-tls", CLIENT, FAILED, NOTICE,                                              \
	  "What the client sent in place of a TLS handshake is not TLS ({first})",                 \
	  "look at port and program; it may also be somebody who tries doors")                     \
	X(TLS_ON_PLAIN, "tls-without-starttls", CLIENT, FAILED, NOTICE,                            \
	  "The client began TLS at once where plaintext and STARTTLS come first",                  \
	  "set the client to STARTTLS instead of SSL/TLS, or use the port with TLS from the first octet") \
	X(PLAIN_AFTER_STARTTLS, "plaintext-after-starttls", CLIENT, FAILED, NOTICE,                \
	  "The client asked for TLS with STARTTLS, got the go-ahead, and then went on in plaintext", \
	  "report it to who makes the client: behind the go-ahead only a TLS handshake may come")  \
	X(INJECTION, "injection", CLIENT, FAILED, WARNING,                                         \
	  "Behind STARTTLS, before TLS was up, further octets came along: somebody between tried to slip plaintext " \
	  "into the session, or the client is broken; the server ran nothing of it and closed",    \
	  "if it is always the same client, update it; otherwise take it for an attack on that connection") \
	X(NEVER_STARTTLS, "starttls-never", CLIENT, FAILED, NOTICE,                                \
	  "The client tried to work in plaintext and never asked for TLS, which service {service} requires", \
	  "set the client to STARTTLS")                                                            \
	X(SAID_NOTHING, "said-nothing", CLIENT, NOTE, DEBUG,                                       \
	  "The client connected and left without a word",                                          \
	  "nothing is to be done: monitors and port scanners do so")                               \
	X(LEFT_PLAIN, "left-in-plaintext", CLIENT, NOTE, DEBUG,                                    \
	  "The client left in plaintext before it asked for TLS",                                  \
	  "nothing is to be done, unless it should have: then set it to STARTTLS")                 \
	X(NO_HELLO, "no-hello", CLIENT, FAILED, NOTICE,                                            \
	  "The client did not begin its TLS handshake within {deadline}{crowded}",                 \
	  "see that the client is set to TLS on this port, and that the network between is not stuck") \
	X(SLOW_HELLO, "hello-not-finished", CLIENT, FAILED, NOTICE,                                \
	  "The client began its first message of the TLS handshake and did not finish it within {deadline}{crowded}", \
	  "look at the network between: large packets may be lost on the way (MTU)")               \
	X(STALLED, "handshake-stalled", CLIENT, FAILED, NOTICE,                                    \
	  "The client stopped in the middle of the TLS handshake and was silent until {deadline} were over{crowded}", \
	  "look at the client: it may wait for a person to choose a certificate or to type the PIN of a card") \
	X(CLOSED_BEFORE, "closed-before-handshake", CLIENT, FAILED, NOTICE,                        \
	  "The client closed the connection before it began the TLS handshake",                    \
	  "if it is no monitor, look at the client's log")                                         \
	X(CLOSED_WITHIN, "closed-in-handshake", CLIENT, FAILED, NOTICE,                            \
	  "The client closed the connection in the middle of the TLS handshake and did not say why", \
	  "look at the client's log; most often it does not trust the server's certificate")       \
	X(RESET_WITHIN, "reset-in-handshake", NETWORK, FAILED, NOTICE,                             \
	  "The connection was reset in the middle of the TLS handshake, by the client or by something between", \
	  "look at the client's log, and at firewalls between")                                    \
	X(RESET, "reset", NETWORK, ENDED, INFO,                                                   \
	  "The connection was reset: the client, or something between, dropped it without an end", \
	  "look at the client's log, and at routers between that forget quiet connections")        \
	X(TRUNCATED, "truncated", CLIENT, ENDED, INFO,                                             \
	  "The client ended the connection without the end of its TLS session (close_notify): what was not complete " \
	  "was thrown away, because anybody between could have cut it",                            \
	  "if something is missing, send it again; otherwise it is a habit of this client")        \
	X(NOT_READING, "not-reading", CLIENT, FAILED, NOTICE,                                      \
	  "The client did not read what the server sent it, and was given up",                     \
	  "look at the client: it hangs, or the network between is stuck")                         \
	X(BAD_MAC, "bad-record", NETWORK, FAILED, WARNING,                                         \
	  "What the client sent was changed on its way: a record does not decrypt (bad record MAC)", \
	  "look at what stands between the two; if nothing does, the client or its memory is broken") \
	X(RECORD_OVERFLOW, "record-too-large", CLIENT, FAILED, NOTICE,                             \
	  "The client sent a TLS record that is larger than TLS allows",                           \
	  "update the client; often it is no TLS at all")                                          \
	X(TOO_LARGE, "handshake-too-large", CLIENT, FAILED, NOTICE,                                \
	  "The client's messages in the TLS handshake are larger than the server takes",           \
	  "let the client send fewer or smaller certificates")                                     \
	X(MALFORMED, "malformed-message", CLIENT, FAILED, NOTICE,                                  \
	  "A TLS message of the client cannot be read",                                            \
	  "update the client; if it speaks TLS well with others, look for a proxy between")        \
	X(UNEXPECTED, "unexpected-message", CLIENT, FAILED, NOTICE,                                \
	  "The client sent a TLS message that has no place there",                                 \
	  "update the client; if it speaks TLS well with others, report this with its trace")      \
	X(ILLEGAL, "illegal-value", CLIENT, FAILED, NOTICE,                                        \
	  "The client sent a value in the TLS handshake that is not allowed, or left out one that must be there", \
	  "update the client")                                                                     \
	X(FINISHED, "handshake-changed", NETWORK, FAILED, WARNING,                                 \
	  "Client and server do not agree on what they said in the handshake (Finished is wrong): something between " \
	  "changed it",                                                                            \
	  "look at what stands between the two, such as a proxy that opens TLS")

#define WHY_RULES(X)                                                                               \
	X(RENEGOTIATION_OFF, "renegotiation-refused", CLIENT, FAILED, NOTICE,                      \
	  "The client asked for a new handshake within its session (renegotiation), and service {service} allows " \
	  "none",                                                                                  \
	  "let the client open a new connection, or allow it with renegotiation in the tls block") \
	X(RENEGOTIATION_RATE, "renegotiation-too-many", CLIENT, FAILED, NOTICE,                    \
	  "The client asked for new handshakes within its session (renegotiation) more often than {n} times in " \
	  "{window}",                                                                              \
	  "let the client keep its session, or raise renegotiation in the tls block")              \
	X(RENEGOTIATION_INSECURE, "renegotiation-insecure", CLIENT, FAILED, NOTICE,                \
	  "The client asked for a new handshake within its session, but does not know the safe way to do so " \
	  "(RFC 5746)",                                                                            \
	  "update the client")                                                                     \
	X(KEY_UPDATES, "key-update-flood", CLIENT, FAILED, NOTICE,                                 \
	  "The client asked for fresh keys more often than {n} times in {window}",                 \
	  "update the client: nothing needs that many")                                            \
	X(RESTARTS, "restarts-too-many", CLIENT, FAILED, NOTICE,                                   \
	  "The client went back to plaintext and wanted to begin again more often than {n} times in {window}", \
	  "let the client stay in TLS, or raise restarts of service {service}")                    \
	X(ERRORS, "too-many-errors", CLIENT, FAILED, NOTICE,                                       \
	  "The client sent one command after another that service {service} does not know or take",      \
	  "see that the client speaks the protocol of this port")                                  \
	X(EARLY_TALKER, "early-talker", CLIENT, FAILED, NOTICE,                                    \
	  "The client spoke before it was greeted, as programs do that send mail nobody asked for", \
	  "let the client wait for the server's first line; a shorter greeting-delay waits less for such") \
	X(LOGINS, "too-many-logins", CLIENT, FAILED, NOTICE,                                       \
	  "The client failed to log in again and again in one session of service {service}",       \
	  "look at user and password in the client's settings; if it is nobody's client, somebody tries passwords") \
	X(TOO_MUCH, "too-much", CLIENT, FAILED, NOTICE,                                            \
	  "The client sent more in one session than service {service} takes: a message, commands, or names that nobody " \
	  "has",                                                                                   \
	  "compare what it does with the limits of the service (max-message-size, max-commands, max-unknown-recipients)") \
	X(SLOW, "message-too-slow", CLIENT, FAILED, NOTICE,                                        \
	  "The client took longer for one message than message-timeout of service {service} allows, and the server threw it " \
	  "away",                                                                                  \
	  "if it has a slow line, raise message-timeout; if it sends a few octets now and then, it wants to hold the server up") \
	X(LINE_TOO_LONG, "line-too-long", CLIENT, FAILED, NOTICE,                                  \
	  "The client sent a line that does not end",                                              \
	  "see that the client speaks the protocol of this port")                                  \
	X(LIMIT_TOTAL, "limit-total", SERVER, FAILED, NOTICE,                                      \
	  "The server has {n} connections, as many as max-connections allows in all, and turned this one away", \
	  "try again later; if it happens often, raise max-connections")                           \
	X(LIMIT_SERVICE, "limit-service", SERVER, FAILED, NOTICE,                                  \
	  "Service {service} has {n} connections, as many as its max-connections allows, and turned this one away", \
	  "try again later; if it happens often, raise max-connections of service {service}")      \
	X(LIMIT_ADDRESS, "limit-address", CLIENT, FAILED, NOTICE,                                  \
	  "Address {peer} has {n} connections to service {service}, as many as max-per-address allows, and this one " \
	  "was turned away",                                                                       \
	  "close some at the client; if many people share that address, raise max-per-address")    \
	X(PROGRAM_BUSY, "program-busy", SERVER, FAILED, NOTICE,                                    \
	  "Service {service} runs as many programs as it may, and this session got none",          \
	  "try again later; if it happens often, raise max-programs of service {service}")         \
	X(PROGRAM_FAILED, "program-failed", SERVER, FAILED, WARNING,                               \
	  "The program of service {service} could not be started",                                 \
	  "look into the log: the process that starts programs says there what is wrong with it")  \
	X(PROGRAM_LOST, "program-lost", SERVER, FAILED, WARNING,                                   \
	  "The server process that starts programs has ended, and with it the program of this session", \
	  "connect again; what ended that process is in the log")                                  \
	X(NO_KEYHOLDER, "keyholder-away", SERVER, FAILED, WARNING,                                 \
	  "The client asked for TLS while the process that holds the server's keys was away, and was asked to try " \
	  "again",                                                                                 \
	  "try again in a moment; if it stays so, look for the keyholder in the log")              \
	X(NOT_SIGNED, "keyholder-did-not-sign", SERVER, FAILED, WARNING,                           \
	  "The server could not sign in the handshake: the process that holds its keys did not answer", \
	  "try again in a moment; if it stays so, look for the keyholder in the log")              \
	X(NO_MEMORY, "out-of-memory", SERVER, FAILED, WARNING,                                     \
	  "The server had no memory for this connection",                                          \
	  "give the machine more, or lower max-connections")                                       \
	X(IDLE, "idle-timeout", CLIENT, ENDED, INFO,                                               \
	  "The client was silent for longer than idle-timeout of service {service} allows, and the server said goodbye", \
	  "nothing is to be done: clients connect again; if they cannot, raise idle-timeout")      \
	X(GOODBYE, "server-stopping", SERVER, ENDED, INFO,                                         \
	  "The server stopped, or took over a new configuration, and said goodbye to the client",  \
	  "connect again")                                                                         \
	X(KILLED, "worker-killed", SERVER, FAILED, WARNING,                                        \
	  "The server process (worker) that held the connection ended, and the connection with it", \
	  "connect again; what ended the worker is in the log")                                    \
	X(INTERNAL, "server-internal-error", SERVER, FAILED, WARNING,                              \
	  "The TLS session failed for a reason that this server has no words for (error {error} of its TLS library)", \
	  "report this with its trace to who makes the server")

#define WHY_TICKETS(X)                                                                             \
	X(TICKET_OFF, "ticket-off", NOBODY, NOTE, DEBUG,                                           \
	  "The client wanted to go on with an earlier session (by its ticket), but service {service} takes none, so " \
	  "a full handshake was made",                                                             \
	  "nothing is to be done; with tickets on in the tls block it would be quicker")           \
	X(TICKET_FOREIGN, "ticket-foreign", NOBODY, NOTE, DEBUG,                                   \
	  "The client wanted to go on with an earlier session, but its ticket is of another service, of other client " \
	  "CAs, of another server or too old, so a full handshake was made",                       \
	  "nothing is to be done: the client has a new ticket now")                                \
	X(TICKET_OLD, "ticket-expired", NOBODY, NOTE, DEBUG,                                       \
	  "The client wanted to go on with an earlier session, but its time is over or it does not fit any more, so " \
	  "a full handshake was made",                                                             \
	  "nothing is to be done: the client has a new ticket now")

#define WHY_LIST(X)                                                                                \
	WHY_CERTIFICATES(X) WHY_LIVE(X) WHY_NEGOTIATION(X) WHY_ALERTS(X) WHY_WIRE(X) WHY_RULES(X) WHY_TICKETS(X)

#endif
