/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SipHash-2-4 with a 128-bit result (Aumasson and Bernstein). Names become ids by
 * this keyed hash: whoever does not know the key, random for each session, cannot
 * make two names meet. Plain C, compiled for BPF and natively.
 */
#ifndef SIPHASH_H
#define SIPHASH_H

struct sip {
	u64 v0, v1, v2, v3;
	u64 words; /* absorbed so far; the length goes into the last one */
};

#define SIP_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND(s)                                                                                         \
	do {                                                                                                 \
		(s)->v0 += (s)->v1;                                                                          \
		(s)->v1 = SIP_ROTL((s)->v1, 13) ^ (s)->v0;                                                   \
		(s)->v0 = SIP_ROTL((s)->v0, 32);                                                             \
		(s)->v2 += (s)->v3;                                                                          \
		(s)->v3 = SIP_ROTL((s)->v3, 16) ^ (s)->v2;                                                   \
		(s)->v0 += (s)->v3;                                                                          \
		(s)->v3 = SIP_ROTL((s)->v3, 21) ^ (s)->v0;                                                   \
		(s)->v2 += (s)->v1;                                                                          \
		(s)->v1 = SIP_ROTL((s)->v1, 17) ^ (s)->v2;                                                   \
		(s)->v2 = SIP_ROTL((s)->v2, 32);                                                             \
	} while (0)

static inline __attribute__((always_inline)) void sip_init(struct sip *s, u64 k0, u64 k1)
{
	s->v0 = k0 ^ 0x736f6d6570736575ULL;
	s->v1 = k1 ^ 0x646f72616e646f6dULL ^ 0xee;
	s->v2 = k0 ^ 0x6c7967656e657261ULL;
	s->v3 = k1 ^ 0x7465646279746573ULL;
	s->words = 0;
}

static inline __attribute__((always_inline)) void sip_word(struct sip *s, u64 w)
{
	s->v3 ^= w;
	SIP_ROUND(s);
	SIP_ROUND(s);
	s->v0 ^= w;
	s->words++;
}

/* Every message is whole words here, so the last block holds the length alone. */
static inline __attribute__((always_inline)) struct hash128 sip_end(struct sip *s)
{
	struct hash128 h;
	u64 b = (s->words * 8) << 56;

	sip_word(s, b);
	s->v2 ^= 0xee;
	SIP_ROUND(s);
	SIP_ROUND(s);
	SIP_ROUND(s);
	SIP_ROUND(s);
	h.lo = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
	s->v1 ^= 0xdd;
	SIP_ROUND(s);
	SIP_ROUND(s);
	SIP_ROUND(s);
	SIP_ROUND(s);
	h.hi = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
	return h;
}

#endif
