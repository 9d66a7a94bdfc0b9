"""What the items can resolve: reliability, heterogeneity, the verdict on noise or direction."""
