/* tls/tls_verdict.h - what we concluded about a client certificate. */
#ifndef TLS_TLS_VERDICT_H
#define TLS_TLS_VERDICT_H

/*        name           word            alert that refuses it (RFC 8446 §6.2) */
#define TLS_VERDICTS(X)                                                                            \
	X(NONE, "none", 116)                   /* certificate_required; 40 in TLS 1.2 */           \
	X(TRUSTED, "trusted", 0)                                                                   \
	X(EXPIRED, "expired", 45)              /* certificate_expired */                           \
	X(NOT_YET_VALID, "not-yet-valid", 45)  /* "expired or not currently valid" */              \
	X(REVOKED, "revoked", 44)              /* certificate_revoked */                           \
	X(UNKNOWN_CA, "unknown-ca", 48)        /* unknown_ca */                                    \
	X(WRONG_PURPOSE, "wrong-purpose", 43)  /* unsupported_certificate */                       \
	X(BAD_SIGNATURE, "bad-signature", 42)  /* bad_certificate */                               \
	X(CRL_STALE, "crl-stale", 46)          /* certificate_unknown: nobody can tell now */      \
	X(UNMAPPED, "unmapped", 49)            /* access_denied; trusted, but nobody's */

enum tls_verdict {
#define TLS_VERDICT_ENUM(name, word, alert) TLS_VERDICT_##name,
	TLS_VERDICTS(TLS_VERDICT_ENUM)
#undef TLS_VERDICT_ENUM
	TLS_VERDICT_COUNT
};

/* "none", "trusted", ... Static storage. */
const char *tls_verdict_name(enum tls_verdict v);

/* The number of the alert that tells a client so; 0 for a verdict that refuses nobody. */
unsigned tls_verdict_alert(enum tls_verdict v, unsigned tls_minor /* 2 or 3 */);

#endif
