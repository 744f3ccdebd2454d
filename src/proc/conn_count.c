/* proc/conn_count.c - see conn_count.h. */
#include "proc/conn_count.h"

static void
one_more(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

void
conn_count_handshake(struct table_service *t, const struct tls_facts *facts, enum tls_verdict verdict,
		     uint64_t us)
{
	bool cert = facts->subject != NULL;
	enum table_kind kind = facts->resumed
		? (cert ? TABLE_KIND_RESUMED_CERT : TABLE_KIND_RESUMED)
		: (cert ? TABLE_KIND_FULL_CERT : TABLE_KIND_FULL);

	one_more(&t->handshakes);
	if (facts->resumed)
		one_more(&t->resumed);
	if (facts->known)
		one_more(&t->chains_known);
	one_more(&t->verdicts[verdict]);
	table_histogram_add(&t->handshake_us[kind], us);
}

static enum table_failure
reason(const struct tls_failure *f, bool hello_seen)
{
	if (f == NULL)
		return hello_seen ? TABLE_FAILURE_TIMEOUT : TABLE_FAILURE_NO_HELLO;
	if (f->verdict != TLS_VERDICT_TRUSTED)
		return TABLE_FAILURE_CERTIFICATE;
	if (f->signature)
		return TABLE_FAILURE_SIGNATURE;
	if (f->protocol)
		return TABLE_FAILURE_ALPN;
	if (f->alert_got != 0)
		return TABLE_FAILURE_ALERT;
	return f->alert_sent != 0 ? TABLE_FAILURE_PROTOCOL : TABLE_FAILURE_CLOSED;
}

void
conn_count_failure(struct table_service *t, const struct tls_failure *f, bool hello_seen)
{
	one_more(&t->handshakes_failed);
	one_more(&t->failures[reason(f, hello_seen)]);
}
