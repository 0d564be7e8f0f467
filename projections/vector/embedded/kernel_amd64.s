//go:build !noasm

#include "textflag.h"

// func dotCodesAVX2(sums *int32, codes *int8, stride int, entries *uint32, n int, query *int16, ahead int)
//
// For each of n entries: the sum of products of the entry's codes with the
// query. stride is a multiple of 32, the query as long. n > 0, stride > 0. The
// entry that is ahead places after one is fetched into the cache meanwhile.
TEXT ·dotCodesAVX2(SB), NOSPLIT, $0-56
	MOVQ sums+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ stride+16(FP), DX
	MOVQ entries+24(FP), BX
	MOVQ n+32(FP), CX
	MOVQ query+40(FP), R8
	MOVQ ahead+48(FP), R12

entry:
	MOVL  (BX), AX
	IMULQ DX, AX
	ADDQ  SI, AX           // first code of the entry
	MOVQ  R8, R9           // query
	MOVQ  DX, R10          // codes left
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1

	// R11 is how far an entry ahead is away, which is fetched along with this one:
	// rows that a filter skips defeat the hardware's prefetch.
	XORQ  R11, R11
	CMPQ  CX, R12
	JLE   block
	MOVL  (BX)(R12*4), R11
	IMULQ DX, R11
	ADDQ  SI, R11
	SUBQ  AX, R11

block:
	PREFETCHT0 (AX)(R11*1)
	VPMOVSXBW  (AX), Y2
	VPMOVSXBW  16(AX), Y3
	VPMADDWD   (R9), Y2, Y2
	VPMADDWD   32(R9), Y3, Y3
	VPADDD     Y2, Y0, Y0
	VPADDD     Y3, Y1, Y1
	ADDQ       $32, AX
	ADDQ       $64, R9
	SUBQ       $32, R10
	JNZ        block

	VPADDD       Y1, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0x4E, X0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0xB1, X0, X1
	VPADDD       X1, X0, X0
	VMOVD        X0, AX
	MOVL         AX, (DI)

	ADDQ $4, DI
	ADDQ $4, BX
	DECQ CX
	JNZ  entry
	VZEROUPPER
	RET
