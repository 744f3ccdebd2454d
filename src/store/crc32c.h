/* store/crc32c.h - CRC-32C (Castagnoli, RFC 3720 appendix B.4), by the processor's instruction where there is one. */
#ifndef STORE_CRC32C_H
#define STORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from crc (0 at the beginning) over n octets. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* The same by table, as processors without the instruction do it; for tests. */
uint32_t crc32c_table(uint32_t crc, const void *p, size_t n);

#endif
