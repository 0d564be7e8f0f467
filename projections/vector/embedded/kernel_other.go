//go:build noasm || !amd64

package embedded

func dotCodes(sums []int32, codes []int8, stride int, entries []uint32, query []int16) {
	dotCodesScalar(sums, codes, stride, entries, query)
}
