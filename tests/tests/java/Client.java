// SunPKCS11 as a Java application uses it: one method is one scenario, `java Client SCENARIO` runs it. The provider's
// configuration has a name, the library and the slot list index, nothing else: no attributes, no mechanism lists.

import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.security.Key;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.Security;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.X509Certificate;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.crypto.Cipher;
import javax.crypto.CipherOutputStream;
import javax.crypto.KeyAgreement;
import javax.crypto.KeyGenerator;
import javax.crypto.Mac;
import javax.crypto.SecretKey;
import javax.crypto.interfaces.DHPublicKey;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.IvParameterSpec;
import javax.crypto.spec.SecretKeySpec;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedKeyManager;
import javax.net.ssl.X509KeyManager;

public final class Client {
    static final char[] PIN = System.getenv("HSMD_PIN").toCharArray();
    static final byte[] DATA = "The quick brown fox jumps over the lazy dog. ".repeat(1000).getBytes();
    static Provider token;
    static KeyStore keys;

    public static void main(String[] words) throws Exception {
        token = Security.getProvider("SunPKCS11").configure(System.getenv("SUN_CONFIG"));
        Security.addProvider(token);
        keys = KeyStore.getInstance("PKCS11", token);
        keys.load(null, PIN);
        Client.class.getDeclaredMethod(words[0]).invoke(null);
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static KeyPair rsa() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA", token);
        generator.initialize(2048);
        return generator.generateKeyPair();
    }

    static KeyPair ec(String curve) throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", token);
        generator.initialize(new ECGenParameterSpec(curve));
        return generator.generateKeyPair();
    }

    /** A program that runs on: for each line that it is given it uses what it has had from the beginning, and says so. */
    static void goesOn() throws Exception {
        KeyPair pair = ec("secp256r1");
        KeyGenerator generator = KeyGenerator.getInstance("AES", token);
        generator.init(256);
        SecretKey secret = generator.generateKey();
        java.io.BufferedReader lines = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
        System.out.println("ready");
        while (lines.readLine() != null) {
            signs("SHA256withECDSA", pair, null);
            Cipher cipher = Cipher.getInstance("AES/CBC/PKCS5Padding", token);
            cipher.init(Cipher.ENCRYPT_MODE, secret);
            byte[] sealed = cipher.doFinal(DATA);
            IvParameterSpec iv = new IvParameterSpec(cipher.getIV());
            cipher.init(Cipher.DECRYPT_MODE, secret, iv);
            check(Arrays.equals(cipher.doFinal(sealed), DATA), "what was encrypted is decrypted");
            System.out.println("went on");
        }
    }

    /** Signs with the token; verifies with the token and with Java's own providers. */
    static void signs(String algorithm, KeyPair pair, PSSParameterSpec parameters) throws Exception {
        Signature signer = Signature.getInstance(algorithm, token);
        if (parameters != null) {
            signer.setParameter(parameters);
        }
        signer.initSign(pair.getPrivate());
        for (int at = 0; at < DATA.length; at += 4096) {
            signer.update(DATA, at, Math.min(4096, DATA.length - at));
        }
        byte[] signature = signer.sign();
        PublicKey copy = KeyFactory.getInstance(pair.getPublic().getAlgorithm())
            .generatePublic(new X509EncodedKeySpec(pair.getPublic().getEncoded()));
        String own = algorithm.contains("ECDSA") ? "SunEC" : "SunRsaSign";
        for (int round = 0; round < 2; round++) {
            Signature verifier = round == 0 ? Signature.getInstance(algorithm, token) : Signature.getInstance(algorithm, own);
            if (parameters != null) {
                verifier.setParameter(parameters);
            }
            verifier.initVerify(round == 0 ? pair.getPublic() : copy);
            verifier.update(DATA);
            check(verifier.verify(signature), algorithm + " of " + verifier.getProvider());
        }
        Signature verifier = Signature.getInstance(algorithm, token);
        if (parameters != null) {
            verifier.setParameter(parameters);
        }
        verifier.initVerify(pair.getPublic());
        verifier.update(DATA, 1, DATA.length - 1);
        check(!verifier.verify(signature), algorithm + " of other data");
    }

    static void signatures() throws Exception {
        KeyPair pair = rsa();
        for (String algorithm : new String[] {"SHA1withRSA", "SHA224withRSA", "SHA256withRSA", "SHA384withRSA", "SHA512withRSA"}) {
            signs(algorithm, pair, null);
        }
        signs("RSASSA-PSS", pair, new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
        signs("RSASSA-PSS", pair, new PSSParameterSpec("SHA-512", "MGF1", MGF1ParameterSpec.SHA512, 64, 1));
        for (String curve : new String[] {"secp256r1", "secp384r1", "secp521r1"}) {
            KeyPair other = ec(curve);
            // Java cuts leading zeros of a signature before the token verifies it: on P-521 of one in four.
            for (int rounds = curve.equals("secp521r1") ? 8 : 1; rounds > 0; rounds--) {
                for (String algorithm : new String[] {"SHA256withECDSA", "SHA384withECDSA", "SHA512withECDSA"}) {
                    signs(algorithm, other, null);
                }
            }
        }
    }

    static void ciphers() throws Exception {
        KeyGenerator generator = KeyGenerator.getInstance("AES", token);
        generator.init(256);
        SecretKey key = generator.generateKey();
        Cipher cipher = Cipher.getInstance("AES/CBC/PKCS5Padding", token);
        cipher.init(Cipher.ENCRYPT_MODE, key);
        byte[] secret = cipher.doFinal(DATA);
        IvParameterSpec iv = new IvParameterSpec(cipher.getIV());
        cipher.init(Cipher.DECRYPT_MODE, key, iv);
        check(Arrays.equals(DATA, cipher.doFinal(secret)), "CBC");
        ByteArrayOutputStream pieces = new ByteArrayOutputStream();
        cipher.init(Cipher.ENCRYPT_MODE, key, iv);
        try (OutputStream stream = new CipherOutputStream(pieces, cipher)) {
            for (int at = 0; at < DATA.length; at += 1001) {
                stream.write(DATA, at, Math.min(1001, DATA.length - at));
            }
        }
        check(Arrays.equals(secret, pieces.toByteArray()), "CBC in pieces");
        cipher = Cipher.getInstance("AES/CBC/NoPadding", token);
        cipher.init(Cipher.ENCRYPT_MODE, key, iv);
        secret = cipher.doFinal(DATA, 0, 4096);
        cipher.init(Cipher.DECRYPT_MODE, key, iv);
        check(Arrays.equals(Arrays.copyOf(DATA, 4096), cipher.doFinal(secret)), "CBC without padding");
        for (String padding : new String[] {"NoPadding", "PKCS5Padding"}) {
            cipher = Cipher.getInstance("AES/ECB/" + padding, token);
            cipher.init(Cipher.ENCRYPT_MODE, key);
            secret = cipher.doFinal(DATA, 0, 4096);
            cipher.init(Cipher.DECRYPT_MODE, key);
            check(Arrays.equals(Arrays.copyOf(DATA, 4096), cipher.doFinal(secret)), "ECB with " + padding);
        }
        cipher = Cipher.getInstance("AES/CTR/NoPadding", token);
        cipher.init(Cipher.ENCRYPT_MODE, key, iv);
        secret = cipher.doFinal(DATA);
        cipher.init(Cipher.DECRYPT_MODE, key, iv);
        check(Arrays.equals(DATA, cipher.doFinal(secret)), "CTR");
        cipher = Cipher.getInstance("AES/GCM/NoPadding", token);
        GCMParameterSpec nonce = new GCMParameterSpec(128, Arrays.copyOf(iv.getIV(), 12));
        cipher.init(Cipher.ENCRYPT_MODE, key, nonce);
        cipher.updateAAD("header".getBytes());
        secret = cipher.doFinal(DATA);
        cipher.init(Cipher.DECRYPT_MODE, key, nonce);
        cipher.updateAAD("header".getBytes());
        check(Arrays.equals(DATA, cipher.doFinal(secret)), "GCM");
        secret[5] ^= 1;
        cipher.init(Cipher.DECRYPT_MODE, key, nonce);
        cipher.updateAAD("header".getBytes());
        try {
            cipher.doFinal(secret);
            check(false, "a changed GCM text was decrypted");
        } catch (javax.crypto.AEADBadTagException expected) {
            // The token says so with the code for a bad tag.
        }
    }

    /** RSA with PKCS#1 v1.5 padding, and without any, are the RSA ciphers that SunPKCS11 has. */
    static void rsaCipher() throws Exception {
        KeyPair pair = rsa();
        byte[] text = "secret".getBytes();
        PublicKey copy = KeyFactory.getInstance("RSA", "SunRsaSign")
            .generatePublic(new X509EncodedKeySpec(pair.getPublic().getEncoded()));
        Cipher cipher = Cipher.getInstance("RSA/ECB/PKCS1Padding", token);
        Cipher own = Cipher.getInstance("RSA/ECB/PKCS1Padding", "SunJCE");
        cipher.init(Cipher.ENCRYPT_MODE, pair.getPublic());
        own.init(Cipher.ENCRYPT_MODE, copy);
        for (byte[] secret : new byte[][] {cipher.doFinal(text), own.doFinal(text)}) {
            cipher.init(Cipher.DECRYPT_MODE, pair.getPrivate());
            check(Arrays.equals(text, cipher.doFinal(secret)), "RSA");
        }
        // What a private key encrypts, a public one opens: padding of the other type, a signature by another name.
        cipher.init(Cipher.ENCRYPT_MODE, pair.getPrivate());
        byte[] signed = cipher.doFinal(text);
        own.init(Cipher.DECRYPT_MODE, copy);
        check(Arrays.equals(text, own.doFinal(signed)), "RSA with the private key");
        // A wrong padding is no error.
        byte[] wrong = new byte[256];
        Arrays.fill(wrong, (byte) 7);
        cipher.init(Cipher.DECRYPT_MODE, pair.getPrivate());
        byte[] first = cipher.doFinal(wrong);
        cipher.init(Cipher.DECRYPT_MODE, pair.getPrivate());
        check(Arrays.equals(first, cipher.doFinal(wrong)), "implicit rejection gives the same text again");
    }

    static void agreement() throws Exception {
        for (String curve : new String[] {"secp256r1", "secp384r1", "secp521r1"}) {
            KeyPair ours = ec(curve);
            KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", "SunEC");
            generator.initialize(new ECGenParameterSpec(curve));
            KeyPair theirs = generator.generateKeyPair();
            KeyAgreement agreement = KeyAgreement.getInstance("ECDH", token);
            agreement.init(ours.getPrivate());
            agreement.doPhase(theirs.getPublic(), true);
            byte[] secret = agreement.generateSecret();
            KeyAgreement other = KeyAgreement.getInstance("ECDH", "SunEC");
            other.init(theirs.getPrivate());
            other.doPhase(KeyFactory.getInstance("EC", "SunEC")
                .generatePublic(new X509EncodedKeySpec(ours.getPublic().getEncoded())), true);
            check(Arrays.equals(secret, other.generateSecret()), "ECDH on " + curve);
            agreement.init(ours.getPrivate());
            agreement.doPhase(theirs.getPublic(), true);
            check(agreement.generateSecret("TlsPremasterSecret") != null, "a premaster secret");
        }
    }

    /** Diffie-Hellman in the group that Java takes for a size: it names the private value's length (CKA_VALUE_BITS). */
    static void diffieHellman() throws Exception {
        for (int bits : new int[] {2048, 3072}) {
            KeyPairGenerator generator = KeyPairGenerator.getInstance("DH", token);
            generator.initialize(bits);
            KeyPair ours = generator.generateKeyPair();
            KeyPairGenerator own = KeyPairGenerator.getInstance("DH", "SunJCE");
            own.initialize(((DHPublicKey) ours.getPublic()).getParams());
            KeyPair theirs = own.generateKeyPair();
            KeyAgreement agreement = KeyAgreement.getInstance("DH", token);
            agreement.init(ours.getPrivate());
            agreement.doPhase(theirs.getPublic(), true);
            byte[] secret = agreement.generateSecret();
            KeyAgreement other = KeyAgreement.getInstance("DH", "SunJCE");
            other.init(theirs.getPrivate());
            other.doPhase(KeyFactory.getInstance("DH", "SunJCE")
                .generatePublic(new X509EncodedKeySpec(ours.getPublic().getEncoded())), true);
            check(Arrays.equals(secret, other.generateSecret()), "Diffie-Hellman with " + bits + " bits");
        }
    }

    static void macsAndDigests() throws Exception {
        byte[] value = new byte[32];
        Arrays.fill(value, (byte) 7);
        for (String name : new String[] {"HmacSHA1", "HmacSHA224", "HmacSHA256", "HmacSHA384", "HmacSHA512",
                "HmacSHA3-224", "HmacSHA3-256", "HmacSHA3-384", "HmacSHA3-512"}) {
            Mac mac = Mac.getInstance(name, token);
            mac.init(new SecretKeySpec(value, name));
            Mac own = Mac.getInstance(name, "SunJCE");
            own.init(new SecretKeySpec(value, name));
            check(Arrays.equals(mac.doFinal(DATA), own.doFinal(DATA)), name);
        }
        for (String name : new String[] {"SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512",
                "SHA3-224", "SHA3-256", "SHA3-384", "SHA3-512"}) {
            byte[] digest = MessageDigest.getInstance(name, token).digest(DATA);
            check(Arrays.equals(digest, MessageDigest.getInstance(name, "SUN").digest(DATA)), name);
        }
        byte[] random = new byte[64];
        SecureRandom.getInstance("PKCS11", token).nextBytes(random);
        check(!Arrays.equals(random, new byte[64]), "random bytes");
    }

    /** What `keytool -genkeypair` and `keytool -genseckey` have made: an entry of each, used by its alias. */
    static void entries() throws Exception {
        for (String alias : new String[] {"rsa", "ec"}) {
            check(keys.isKeyEntry(alias), alias + " is an entry among " + Collections.list(keys.aliases()));
            PrivateKey key = (PrivateKey) keys.getKey(alias, null);
            check(key.getEncoded() == null, "the key's value stays in the token");
            Certificate certificate = keys.getCertificate(alias);
            certificate.verify(certificate.getPublicKey());
            signs(alias.equals("rsa") ? "SHA256withRSA" : "SHA256withECDSA",
                new KeyPair(certificate.getPublicKey(), key), null);
        }
        Key secret = keys.getKey("aes", null);
        Cipher cipher = Cipher.getInstance("AES/CBC/PKCS5Padding", token);
        cipher.init(Cipher.ENCRYPT_MODE, secret);
        cipher.doFinal(DATA);
    }

    /** A TLS server whose key is in the token; the client trusts its certificate. */
    static void tls(String alias, String version) throws Exception {
        KeyStore one = KeyStore.getInstance("PKCS12");
        one.load(null, null);
        one.setCertificateEntry("server", keys.getCertificate(alias));
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(one);
        SSLContext client = SSLContext.getInstance("TLS");
        client.init(null, trust.getTrustManagers(), null);
        KeyManagerFactory factory = KeyManagerFactory.getInstance("SunX509");
        factory.init(keys, null);
        X509KeyManager manager = (X509KeyManager) factory.getKeyManagers()[0];
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(new KeyManager[] {new Only(manager, alias)}, null, null);
        try (SSLServerSocket listener = (SSLServerSocket) context.getServerSocketFactory()
                .createServerSocket(0, 8, InetAddress.getLoopbackAddress())) {
            Thread server = new Thread(() -> {
                try (Socket accepted = listener.accept()) {
                    accepted.getOutputStream().write(accepted.getInputStream().read());
                } catch (Exception error) {
                    error.printStackTrace();
                }
            });
            server.start();
            try (SSLSocket socket = (SSLSocket) client.getSocketFactory()
                    .createSocket(InetAddress.getLoopbackAddress(), listener.getLocalPort())) {
                socket.setEnabledProtocols(new String[] {version});
                socket.getOutputStream().write(42);
                check(socket.getInputStream().read() == 42, "the echo");
                check(socket.getSession().getProtocol().equals(version), version);
            }
            server.join();
        }
    }

    static void tlsServers() throws Exception {
        for (String version : new String[] {"TLSv1.3", "TLSv1.2"}) {
            tls("rsa", version);
            tls("ec", version);
        }
    }

    /** A key manager with one key. */
    static final class Only extends X509ExtendedKeyManager {
        final X509KeyManager all;
        final String alias;

        Only(X509KeyManager all, String alias) {
            this.all = all;
            this.alias = alias;
        }

        @Override
        public String chooseEngineServerAlias(String type, Principal[] issuers, SSLEngine engine) {
            return chooseServerAlias(type, issuers, null);
        }

        @Override
        public String chooseServerAlias(String type, Principal[] issuers, Socket socket) {
            return all.getPrivateKey(alias).getAlgorithm().equals(type) ? alias : null;
        }

        @Override
        public X509Certificate[] getCertificateChain(String alias) {
            return all.getCertificateChain(alias);
        }

        @Override
        public PrivateKey getPrivateKey(String alias) {
            return all.getPrivateKey(alias);
        }

        @Override
        public String[] getServerAliases(String type, Principal[] issuers) {
            return new String[] {alias};
        }

        @Override
        public String[] getClientAliases(String type, Principal[] issuers) {
            return null;
        }

        @Override
        public String chooseClientAlias(String[] types, Principal[] issuers, Socket socket) {
            return null;
        }
    }

    /** Eight threads sign and encrypt at once. */
    static void threads() throws Exception {
        KeyPair pair = rsa();
        KeyGenerator generator = KeyGenerator.getInstance("AES", token);
        generator.init(256);
        SecretKey key = generator.generateKey();
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<?>> results = new ArrayList<>();
        for (int task = 0; task < 64; task++) {
            results.add(pool.submit(() -> {
                Signature signer = Signature.getInstance("SHA256withRSA", token);
                signer.initSign(pair.getPrivate());
                signer.update(DATA);
                byte[] signature = signer.sign();
                signer.initVerify(pair.getPublic());
                signer.update(DATA);
                check(signer.verify(signature), "a signature");
                Cipher cipher = Cipher.getInstance("AES/CBC/PKCS5Padding", token);
                cipher.init(Cipher.ENCRYPT_MODE, key);
                byte[] secret = cipher.doFinal(DATA);
                cipher.init(Cipher.DECRYPT_MODE, key, new IvParameterSpec(cipher.getIV()));
                check(Arrays.equals(DATA, cipher.doFinal(secret)), "a text");
                return null;
            }));
        }
        for (Future<?> result : results) {
            result.get();
        }
        pool.shutdown();
    }

    /** A key entry of Java's own goes into the token, with its certificate, is found, used and deleted. */
    static void stores() throws Exception {
        KeyStore file = KeyStore.getInstance("PKCS12");
        try (FileInputStream stream = new FileInputStream(System.getenv("KEY_FILE"))) {
            file.load(stream, "changeit".toCharArray());
        }
        Certificate[] chain = file.getCertificateChain("k");
        keys.setKeyEntry("imported", file.getKey("k", "changeit".toCharArray()), null, chain);
        keys.setEntry("secret", new KeyStore.SecretKeyEntry(new SecretKeySpec(new byte[32], "AES")), null);
        KeyStore again = KeyStore.getInstance("PKCS11", token);
        again.load(null, PIN);
        check(again.isKeyEntry("imported") && again.isKeyEntry("secret"), "both are there");
        signs("SHA256withRSA", new KeyPair(chain[0].getPublicKey(), (PrivateKey) again.getKey("imported", null)), null);
        again.deleteEntry("imported");
        again.deleteEntry("secret");
        again.load(null, PIN);
        check(!again.containsAlias("imported") && !again.containsAlias("secret"), "both are gone");
    }
}
