//go:build !noasm

package embedded

import "golang.org/x/sys/cpu"

//go:noescape
func dotCodesAVX2(sums *int32, codes *int8, stride int, entries *uint32, n int, query *int16, ahead int)

// fetchAhead is how many bytes ahead of the kernel entries are fetched.
const fetchAhead = 2048

var hasAVX2 = cpu.X86.HasAVX2

// dotCodes gives, for each entry, the sum of products of its codes with the
// query. Entries must be in the block, and sums as long as entries.
func dotCodes(sums []int32, codes []int8, stride int, entries []uint32, query []int16) {
	if !hasAVX2 {
		dotCodesScalar(sums, codes, stride, entries, query)
		return
	}
	if len(entries) > 0 {
		dotCodesAVX2(&sums[0], &codes[0], stride, &entries[0], len(entries), &query[0], max(1, fetchAhead/stride))
	}
}
