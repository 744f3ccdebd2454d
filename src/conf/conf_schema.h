/* conf/conf_schema.h - one table per block: everything that is known of a directive.
 *
 * Reading, defaults, conf_show() and the option lists of the manual walk these tables; a directive
 * that is not in them does not exist. Constant. */
#ifndef CONF_CONF_SCHEMA_H
#define CONF_CONF_SCHEMA_H

#include "conf/conf.h"

#define CONF_NAME_MAX      64   /* octets of a service's or tls block's name */
#define CONF_CLIENT_CA_MAX 64   /* files of one tls block */
#define CONF_CLIENT_CRL_MAX 64  /* files of one tls block */
#define CONF_MAPS_MAX      64   /* rules of identity */
#define CONF_PATH_MAX      4095 /* octets: PATH_MAX without its NUL */
#define CONF_SOCKET_MAX    107  /* octets of a unix socket's path: sun_path without its NUL */
#define CONF_RATE_MAX      100  /* the greatest N of "N per TIME": each connection remembers that many */
#define CONF_DAY_MS        (24u * 3600 * 1000)

enum conf_type {
	CONF_T_WORD,     /* one of a list of words, stored as unsigned */
	CONF_T_SET,      /* several of them, stored as the bits of an unsigned */
	CONF_T_HOSTNAME, /* char * */
	CONF_T_NAME,     /* a name of ours, char * */
	CONF_T_STRING,   /* char * */
	CONF_T_PATH,     /* absolute when stored, char * */
	CONF_T_NUMBER,   /* uint32_t */
	CONF_T_SIZE,     /* uint32_t, in octets */
	CONF_T_DURATION, /* uint32_t, in ms */
	CONF_T_RATE,     /* struct conf_rate; min and max are of the count */
	CONF_T_SPECIAL,  /* has its own functions */
	CONF_T_BLOCK,    /* a block without a name, whose values are in the same struct */
};

#define CONF_F_REPEAT   0x1u /* may be given several times */
#define CONF_F_REQUIRED 0x2u /* the block is not complete without it */
#define CONF_F_AUTO     0x4u /* number: "auto" is the number of processors */

struct conf_choice {
	const char *word;
	unsigned value;
};

struct conf_reader;
struct conf_scope;
struct conf_shower;
struct conf_node;
struct conf_directive;

/* Reads the statement into the struct that the scope stands for. */
typedef void conf_read_f(struct conf_reader *r, struct conf_scope *s,
			 const struct conf_directive *d, const struct conf_node *n);

/* Walks the values of this directive in base. 0, or what the callback returned. */
typedef int conf_show_f(struct conf_shower *sh, const struct conf_directive *d, const void *base);

struct conf_directive {
	const char *name;
	enum conf_type type;
	unsigned flags;
	uint32_t min, max; /* of the number, of the time in ms, of the octets of a string */
	const char *def;   /* as one would write it; NULL: none */
	const char *mail_def; /* the same for a service with a mail protocol, where it differs */
	const char *unit;  /* what a number counts, or what a default means; NULL: plain */
	const char *args;  /* of the manual, in its own words: FILE, NAME, TIME */
	const char *help;  /* one sentence for the manual */
	size_t offset;     /* in the block's struct */
	const struct conf_choice *choices; /* ends with a NULL word */
	const struct conf_block *block;    /* of BLOCK, and of a SPECIAL that has one */
	unsigned protocols; /* in a service: bit set of enum conf_protocol that have it; 0: all */
	conf_read_f *read;
	conf_show_f *show;
};

struct conf_block {
	const char *name; /* as in messages: "a service block" */
	const struct conf_directive *directives;
	size_t n; /* at most CONF_DIRECTIVES_MAX */
};

#define CONF_DIRECTIVES_MAX 32

#define CONF_PROTOCOLS_MAIL                                                                        \
	(1u << CONF_PROTOCOL_SMTP | 1u << CONF_PROTOCOL_SUBMISSION | 1u << CONF_PROTOCOL_LMTP)

extern const struct conf_block conf_schema_top;
extern const struct conf_block conf_schema_control;
extern const struct conf_block conf_schema_identity;
extern const struct conf_block conf_schema_tls;
extern const struct conf_block conf_schema_name;
extern const struct conf_block conf_schema_service;

/* Choices that the special readers share with the tables. */
extern const struct conf_choice conf_choices_listen[];
extern const struct conf_choice conf_choices_log_format[];
extern const struct conf_choice conf_choices_map[];

/* conf_exec.c */
extern const struct conf_choice conf_choices_limit[];
extern const struct conf_choice conf_choices_place[];
extern const struct conf_choice conf_choices_say[];

/* A service of that protocol (a bit; 0: not known) has the directive. */
bool conf_schema_belongs(const struct conf_directive *d, unsigned protocol);

/* Index in the block's table, or -1. */
int conf_schema_find(const struct conf_block *block, const char *name);

/* The word of a value; it is in the list. */
const char *conf_choice_word(const struct conf_choice *c, unsigned value);

bool conf_choice_has(const struct conf_choice *c, const char *word);

/* The mode of an address that names none, by the service's protocol. */
enum conf_listen_mode conf_schema_listen_mode(enum conf_protocol protocol);

/* What each special directive has instead of a type: conf_special.c and conf_show.c. */
conf_read_f conf_read_log, conf_read_tls, conf_read_certificate, conf_read_ocsp, conf_read_client_ca,
    conf_read_client_crl, conf_read_name, conf_read_map, conf_read_domain, conf_read_postmaster,
    conf_read_users, conf_read_impersonate,
    conf_read_service, conf_read_listen, conf_read_service_tls;
conf_read_f conf_read_command, conf_read_environment, conf_read_limit, conf_read_starttls, conf_read_plaintext,
    conf_read_capability, conf_read_say;
conf_show_f conf_show_command, conf_show_environment, conf_show_limit, conf_show_starttls, conf_show_plaintext,
    conf_show_capability, conf_show_say;
conf_show_f conf_show_log, conf_show_tls, conf_show_certificate, conf_show_ocsp, conf_show_client_ca,
    conf_show_client_crl, conf_show_name, conf_show_map, conf_show_domain, conf_show_postmaster,
    conf_show_users, conf_show_impersonate,
    conf_show_service, conf_show_listen, conf_show_service_tls;

#endif
