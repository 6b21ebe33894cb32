"""SAM as its authors publish it, and MobileSAM: frozen."""
