import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.BitSet;
import java.util.Locale;

/** Primes in a long table, and numbers of any size. */
public class PrimeTable {
    static BitSet sieve(int limit) {
        BitSet composite = new BitSet(limit + 1);
        for (int n = 2; (long) n * n <= limit; n++) {
            if (composite.get(n)) continue;
            for (int m = n * n; m <= limit; m += n) composite.set(m);
        }
        composite.flip(2, limit + 1);
        composite.clear(0, 2);
        return composite;
    }

    static BigDecimal root(BigDecimal n, int digits) {
        return n.sqrt(new MathContext(digits, RoundingMode.HALF_UP));
    }

    public static void main(String... args) {
        BitSet primes = sieve(100_000);
        StringBuilder row = new StringBuilder();
        int count = 0;
        double reciprocals = 0;
        for (int p = primes.nextSetBit(0); p >= 0; p = primes.nextSetBit(p + 1)) {
            count++;
            reciprocals += 1.0 / p;
            row.setLength(0);
            row.append(String.format(Locale.ROOT, "%5d %,7d %5s %8.5f", count, p, Integer.toHexString(p), reciprocals));
            if (primes.get(p + 2)) row.append(" twin");
            if (Integer.bitCount(p + 1) == 1) row.append(" mersenne");
            System.out.println(row);
        }
        System.out.printf(Locale.ROOT, "%d primes%n", count);

        BigInteger factorial = BigInteger.ONE;
        for (int n = 2; n <= 50; n++) factorial = factorial.multiply(BigInteger.valueOf(n));
        System.out.println("50! = " + factorial + " (" + factorial.bitLength() + " bits)");
        BigInteger m127 = BigInteger.TWO.pow(127).subtract(BigInteger.ONE);
        System.out.println(m127 + " " + m127.isProbablePrime(40) + " " + m127.toString(36));
        System.out.println(BigInteger.valueOf(3).modPow(m127.subtract(BigInteger.ONE), m127) + " " + m127.mod(BigInteger.TEN));
        System.out.println(root(BigDecimal.valueOf(2), 60));
        System.out.println(new BigDecimal("1.10").add(new BigDecimal("2.205")).setScale(2, RoundingMode.HALF_EVEN) + " " + new BigDecimal(0.1).toString().substring(0, 24));
        System.out.println(0.1f + 0.2f + " " + (0.1 + 0.2) + " " + 1e7 + " " + 1.0e-4 + " " + 100.0 / 3 + " " + Double.MIN_VALUE + " " + (int) 1e20 + " " + (byte) 200 + " " + -7 / 2 + " " + Math.floorMod(-7, 2));
    }
}
