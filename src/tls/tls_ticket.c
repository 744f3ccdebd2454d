/* tls/tls_ticket.c - see tls_ticket.h. */
#include "tls/tls_ticket.h"

#include "tls/tls_impl.h"

#include <gnutls/crypto.h>
#include <string.h>

#define LABEL "ticket1"

int
tls_ticket_key_derive(const uint8_t master[TLS_TICKET_MASTER_SIZE], const char *service, const char *sni,
		      const struct tls_cred *cred, uint32_t lifetime_s, struct tls_ticket_key *key)
{
	const uint8_t mode = (uint8_t)cred->client_cert;
	gnutls_hmac_hd_t h;
	int rc;

	PT_ASSERT(lifetime_s > 0 && lifetime_s <= TLS_TICKET_LIFETIME_MAX_S);
	memset(key, 0, sizeof *key);
	PT_ASSERT(gnutls_hmac_get_len(GNUTLS_MAC_SHA512) == TLS_TICKET_KEY_SIZE);
	if (gnutls_hmac_init(&h, GNUTLS_MAC_SHA512, master, TLS_TICKET_MASTER_SIZE) != 0)
		return PT_EIO;
	/* each text with its NUL, the rest of fixed length: no two domains give the same octets */
	rc = gnutls_hmac(h, LABEL, sizeof LABEL);
	if (rc == 0)
		rc = gnutls_hmac(h, service, strlen(service) + 1);
	if (rc == 0)
		rc = gnutls_hmac(h, sni, strlen(sni) + 1);
	if (rc == 0)
		rc = gnutls_hmac(h, &mode, sizeof mode);
	if (rc == 0)
		rc = gnutls_hmac(h, cred->ca_set, sizeof cred->ca_set);
	gnutls_hmac_deinit(h, key->octets);
	if (rc != 0) {
		explicit_bzero(key, sizeof *key);
		return PT_EIO;
	}
	key->lifetime_s = lifetime_s;
	return 0;
}
