/* tls/tls_fault.h - what a failed session failed of, in words that do not change with the library; and why a
 * certificate got a bad verdict, where the verdict alone leaves that open. */
#ifndef TLS_TLS_FAULT_H
#define TLS_TLS_FAULT_H

#define TLS_FAULTS(X)                                                                              \
	X(NONE)                                                                                    \
	X(ALERT)           /* the peer ended it with an alert */                                   \
	X(CLOSED)          /* the transport ended */                                               \
	X(RESET)           /* the transport broke */                                               \
	X(CERTIFICATE)     /* the client certificate was refused: see the verdict */               \
	X(MALFORMED_CERT)  /* what came as a certificate cannot be read as one */                  \
	X(NO_PROOF)        /* the peer's signature over the handshake is wrong */                  \
	X(CHANGED)         /* a renegotiation came with another certificate or verdict */          \
	X(VERSION)         /* no version in common */                                              \
	X(CIPHER)          /* no cipher suite in common */                                         \
	X(SIGNATURE)       /* no signature algorithm in common */                                  \
	X(GROUP)           /* no key exchange group in common */                                   \
	X(FALLBACK)        /* the client came with less than it can: RFC 7507 */                   \
	X(ALPN)            /* no application protocol in common */                                 \
	X(SNI)             /* the client asks for a name that is not served */                     \
	X(NOT_TLS)         /* what came is no record of TLS */                                     \
	X(DECRYPT)         /* a record does not decrypt: changed on its way, or not of this key */ \
	X(RECORD_OVERFLOW) /* a record is larger than TLS allows */                                \
	X(TOO_LARGE)       /* handshake messages are larger than we take */                        \
	X(MALFORMED)       /* a message cannot be read */                                          \
	X(UNEXPECTED)      /* a message that has no place there */                                 \
	X(ILLEGAL)         /* a value that is not allowed, or one that is missing */               \
	X(FINISHED)        /* the two sides do not agree on what was said */                       \
	X(KEYHOLDER)       /* our own signature could not be had */                                \
	X(MEMORY)          /* ours */                                                              \
	X(OTHER)           /* anything else; the library's own text says more */

enum tls_fault {
#define TLS_FAULT_ENUM(name) TLS_FAULT_##name,
	TLS_FAULTS(TLS_FAULT_ENUM)
#undef TLS_FAULT_ENUM
	TLS_FAULT_COUNT
};

#define TLS_REASONS(X)                                                                             \
	X(NONE)                                                                                    \
	X(SELF_SIGNED)   /* unknown-ca: the leaf is its own issuer */                              \
	X(INCOMPLETE)    /* unknown-ca: an intermediate is missing that we can name */             \
	X(NOT_A_CA)      /* unknown-ca: an issuer in the chain may not issue */                    \
	X(WEAK)          /* bad-signature: of an algorithm that is not good enough */              \
	X(ABOVE)         /* expired, not-yet-valid, revoked: not the leaf but a CA above it */

enum tls_reason {
#define TLS_REASON_ENUM(name) TLS_REASON_##name,
	TLS_REASONS(TLS_REASON_ENUM)
#undef TLS_REASON_ENUM
	TLS_REASON_COUNT
};

#endif
