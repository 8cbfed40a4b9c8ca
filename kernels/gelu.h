/* The polynomial that the vector versions of gelu share: -ln Phi(-x) on [0, 6], Phi the normal
 * distribution function.  Fitted by weighted least squares at Chebyshev nodes, the weights
 * readjusted until the error of Phi was even: below 4.3e-9 everywhere. */
#ifndef STRATA_GELU_H
#define STRATA_GELU_H

#define STRATA_GELU_0 0.6931471824645996f
#define STRATA_GELU_1 0.7978851199150085f
#define STRATA_GELU_2 0.3183043301105499f
#define STRATA_GELU_3 0.036356788128614426f
#define STRATA_GELU_4 -0.004820746835321188f
#define STRATA_GELU_5 -6.911782861607207e-07f
#define STRATA_GELU_6 0.00019711018831003457f
#define STRATA_GELU_7 -5.4891348554519936e-05f
#define STRATA_GELU_8 8.102269930532202e-06f
#define STRATA_GELU_9 -6.590597081412852e-07f
#define STRATA_GELU_10 2.3158754913765733e-08f

#endif
