package vector

import "math"

// Parameters of BM25.
const (
	K1 = 1.2
	B  = 0.75
)

// Dot is the scalar kernel under every dense score: components in order, each
// product of two float32 exact in a float64, so that neither a compiler's fused
// multiply-add nor huge components change the sum. The vectors have one length.
func Dot(a, b []float32) float64 {
	var s float64
	for i, x := range a {
		s += float64(x) * float64(b[i])
	}
	return s
}

// Dot4 is Dot with four vectors at once: to the bit the same sums, in the time of one.
func Dot4(q, a, b, c, d []float32) (w, x, y, z float64) {
	n := len(q)
	a, b, c, d = a[:n], b[:n], c[:n], d[:n]
	for i, f := range q {
		v := float64(f)
		w += v * float64(a[i])
		x += v * float64(b[i])
		y += v * float64(c[i])
		z += v * float64(d[i])
	}
	return w, x, y, z
}

// Norm is the Euclidean length, by Dot.
func Norm(a []float32) float64 { return math.Sqrt(Dot(a, a)) }

// Cosine is the score of a document's vector for a query, the same in every
// tier. ok is false where one of the two is all zeros.
func Cosine(query, vector []float32) (score float32, ok bool) {
	return CosineOf(Dot(query, vector), Norm(query), Norm(vector))
}

// CosineOf is Cosine for a dot product and norms that are known.
func CosineOf(dot, queryNorm, norm float64) (score float32, ok bool) {
	if queryNorm == 0 || norm == 0 {
		return 0, false
	}
	return float32(dot / float64(queryNorm*norm)), true
}

// Statistics are what BM25 needs of a corpus: integers, so that they are the same
// in whatever pieces they are counted.
type Statistics struct {
	Documents uint64 // that have the feature
	Length    uint64 // sum of their lengths
}

// Weight is a query term's share of every score: its count in the query times
// ln(1 + (N − n + 0.5)/(n + 0.5)), where n documents have the term.
func (s Statistics) Weight(count uint32, n uint64) float64 {
	return float64(count) * ln(1+(float64(s.Documents)-float64(n)+0.5)/(float64(n)+0.5))
}

// Saturation is what a document's length does to its terms: k1 (1 − b + b length ÷ mean length).
func (s Statistics) Saturation(length uint32) float64 {
	mean := float64(s.Length) / float64(s.Documents)
	return float64(K1 * (1 - B + float64(B*float64(length))/mean))
}

// Term is one term's part of a document's score: weight from Weight, how often the
// document has the term, and Saturation of its length. A score is the sum over the
// query's terms in byte order, rounded to float32.
func Term(weight float64, count uint32, saturation float64) float64 {
	tf := float64(count)
	return float64(weight*float64(tf*(K1+1))) / (tf + saturation)
}

// ln is the natural logarithm of x ≥ 1, after FreeBSD's e_log.c, with each
// product rounded on its own: math.Log differs in its last bit between processors.
func ln(x float64) float64 {
	const (
		ln2Hi = 6.93147180369123816490e-01
		ln2Lo = 1.90821492927058770002e-10
		l1    = 6.666666666666735130e-01
		l2    = 3.999999999940941908e-01
		l3    = 2.857142874366239149e-01
		l4    = 2.222219843214978396e-01
		l5    = 1.818357216161805012e-01
		l6    = 1.531383769920937332e-01
		l7    = 1.479819860511658591e-01
	)
	f1, ki := math.Frexp(x)
	if f1 < math.Sqrt2/2 {
		f1 *= 2
		ki--
	}
	f, k := f1-1, float64(ki)
	s := f / (2 + f)
	s2 := float64(s * s)
	s4 := float64(s2 * s2)
	t1 := float64(s2 * (l1 + float64(s4*(l3+float64(s4*(l5+float64(s4*l7)))))))
	t2 := float64(s4 * (l2 + float64(s4*(l4+float64(s4*l6)))))
	r := t1 + t2
	hfsq := float64(0.5 * float64(f*f))
	return float64(k*ln2Hi) - ((hfsq - (float64(s*(hfsq+r)) + float64(k*ln2Lo))) - f)
}
