/* proc/domain.h - the trust domains of a service: its tls block, and each name block in it (SNI, RFC 6066 §3).
 *
 * The worker's. A domain has a credential set, a client-certificate mode and a ticket key of its own. Which one a
 * session is in is decided once, by the name in its first ClientHello. */
#ifndef PROC_DOMAIN_H
#define PROC_DOMAIN_H

#include "conf/conf.h"
#include "tls/tls_session.h"

struct domain {
	const char *name;           /* the first host of the name block; NULL: the tls block itself */
	const struct conf_tls *tls; /* what holds in it; borrowed from the configuration */
	struct tls_cred *cred;      /* our reference; NULL until the first commit */
	struct tls_cred *staged;    /* loaded, not yet committed */
	bool tickets;               /* are given and taken, with this key */
	struct tls_ticket_key ticket;
};

struct domain_host {
	const char *host;
	size_t index;
};

struct domains {
	struct domain *list; /* that of the tls block first */
	size_t n;            /* 0: the service has no TLS */
	struct domain_host *hosts; /* sorted */
	size_t nhosts;
};

/* tls NULL: none. Empty when out of memory: PT_ENOMEM. */
int domains_init(struct domains *d, const struct conf_tls *tls) PT_MUST_USE;
void domains_fini(struct domains *d);

/* The domain of a host as a client names it (NULL: it names none): that of a block with this very name (in the form of
 * mail/normal.h), or else with a wildcard for its first label, or else the tls block's. */
struct domain *domains_find(const struct domains *d, const char *host);

/* Which credential sets (CRED_SET) the files of a domain are in: what a name block does not give itself is in that of
 * its tls block. tls: the service's; name: 0 for the tls block, 1 and so on for its names. */
struct domain_sets {
	uint32_t certs, ocsp, client_ca, client_crl;
};
struct domain_sets domain_sets(const struct conf_tls *tls, uint32_t service, uint32_t name);

#endif
