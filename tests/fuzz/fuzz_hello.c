/* fuzz/fuzz_hello.c - any octets as a ClientHello and as a NewSessionTicket. */
#include "tls/tls_hello.h"
#include "util/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
lies_in(struct span s, const uint8_t *data, size_t size)
{
	return s.n == 0 || (s.p >= data && s.p + s.n <= data + size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = { data, size };
	struct tls_hello h;
	unsigned minor;

	(void)tls_hello_read(in, &h);
	PT_ASSERT(lies_in(h.sni, data, size) && lies_in(h.alpn, data, size) && lies_in(h.ticket, data, size));
	PT_ASSERT(h.version_min <= h.version_max && h.version_max < TLS_RANK_COUNT);
	PT_ASSERT(h.suites_known <= h.suites && h.groups_known <= h.groups);
	for (minor = 2; minor <= 3; minor++)
		PT_ASSERT(lies_in(tls_hello_new_ticket(in, minor), data, size));
	return 0;
}
