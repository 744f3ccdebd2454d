/* proc/cred_kind.h - what a file of a credential generation is (MSG_CRED_FILE). */
#ifndef PROC_CRED_KIND_H
#define PROC_CRED_KIND_H

#define CRED_KEYS_MAX 256  /* certificates of one generation */
#define CRED_FILES_MAX 1024 /* files of one generation */
#define CRED_SET_IDENTITY 0xffffffffu /* "set" of the CA files of identity rules */

/* "set" of a file of a service: index of the service; name: 0 for its tls block, 1 and so on for the name blocks in
 * it. A set has only what its block gives itself; for the rest it has the tls block's. */
#define CRED_SET(service, name) ((uint32_t)(service) | (uint32_t)(name) << 16)

/* A mistake that only shows when all services are there; of the file's path. */
#define CRED_RULE_UNUSED "%s: no service has all its CAs in client-ca; \"from\" adds no trust, so list the file there, too"

enum cred_kind {
	CRED_CERT,      /* to the keyholder: the certificate file of key number "key" */
	CRED_KEY,       /* to the keyholder: its key file; may be the same file */
	CRED_CHAIN,     /* to a worker: certificates that the keyholder found */
	CRED_CLIENT_CA, /* to a worker: a client-ca file of service "set" */
	CRED_FROM,      /* to a worker: the CA file of identity rule "index" */
	CRED_CRL,       /* to a worker: a client-crl file of service "set" */
	CRED_PASSPHRASE, /* to the keyholder: the passphrase file of key number "key" */
	CRED_USERS,       /* to auth: the users file */
	CRED_IMPERSONATE, /* to auth: who may act as whom */
	CRED_OCSP,      /* to a worker: an ocsp file of service "set" */
};

#endif
